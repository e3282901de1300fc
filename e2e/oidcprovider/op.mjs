// oidc-provider as an upstream, on loopback: node op.mjs PEOPLE
//
// PEOPLE is a JSON file, read again for each question: {"name": {claims}}. Clients
// register themselves (RFC 7591) and are called what they call themselves; the secret
// of NAME is NAME-secret. Any password will do. Standard output says where it is, then
// one line for each event.
import { generateKeyPairSync } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { Provider } from 'oidc-provider'

const people = () => JSON.parse(readFileSync(process.argv[2], 'utf8'))
const say = (...words) => console.log(words.join(' '))

const findAccount = (_ctx, name) => {
  const own = people()[name]
  return own && {
    accountId: name,
    claims: () => ({ sub: name, name, preferred_username: name, email: `${name}@example.org`, email_verified: true, ...own }),
  }
}

const page = (body) => `<!doctype html><html lang="en"><meta charset="utf-8"><title>Upstream</title><link rel="icon" href="data:,"><h1>Upstream</h1>${body}</html>`
const loginForm = page('<form method="post"><input name="name" id="name" aria-label="Name" autocomplete="off"><button id="login">Sign in</button></form>')

// interaction signs somebody in who exists, and lets the client have what it asks for.
const interaction = (op) => async (ctx, next) => {
  if (!ctx.path.startsWith('/interaction/')) return next()
  const { prompt, params, session } = await op.interactionDetails(ctx.req, ctx.res)
  if (prompt.name === 'consent') {
    const grant = new op.Grant({ accountId: session.accountId, clientId: params.client_id })
    grant.addOIDCScope(params.scope)
    return op.interactionFinished(ctx.req, ctx.res, { consent: { grantId: await grant.save() } }, { mergeWithLastSubmission: true })
  }
  let body = ''
  for await (const chunk of ctx.req) body += chunk
  const name = new URLSearchParams(body).get('name')
  ctx.type = 'html'
  if (ctx.method !== 'POST') {
    ctx.body = loginForm
  } else if (!people()[name]) {
    ctx.status = 403
    ctx.body = page('<p id="refused">There is no such account.</p>')
  } else {
    return op.interactionFinished(ctx.req, ctx.res, { login: { accountId: name } }, { mergeWithLastSubmission: false })
  }
}

const server = createServer().listen(0, '127.0.0.1', () => {
  const issuer = `http://127.0.0.1:${server.address().port}`
  const key = generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey.export({ format: 'jwk' })
  const op = new Provider(issuer, {
    claims: { openid: ['sub'], email: ['email', 'email_verified'], profile: ['name', 'preferred_username'], groups: ['groups'] },
    conformIdTokenClaims: false,
    cookies: { keys: ['tests'] },
    features: {
      devInteractions: { enabled: false },
      registration: { enabled: true, idFactory: (ctx) => ctx.oidc.body.client_name, secretFactory: (ctx) => `${ctx.oidc.body.client_name}-secret` },
    },
    findAccount,
    interactions: { url: (_ctx, i) => `/interaction/${i.uid}` },
    jwks: { keys: [{ ...key, use: 'sig', alg: 'RS256', kid: 'tests' }] },
    pkce: { required: () => true },
    rotateRefreshToken: true,
  })
  const by = (ctx) => (ctx.headers.authorization?.startsWith('Basic ') ? 'client_secret_basic' : 'client_secret_post')
  op.on('grant.success', (ctx) => say('granted', ctx.oidc.params.grant_type, by(ctx), ctx.oidc.client.clientId))
  op.on('grant.error', (ctx, err) => say('refused', ctx.oidc.params?.grant_type, by(ctx), err.error, err.error_detail))
  op.on('grant.revoked', (_ctx, id) => say('revoked', id))
  op.on('authorization.error', (_ctx, err) => say('error', err.error, err.error_description))
  op.on('server_error', (_ctx, err) => say('error', err.stack))
  op.use(interaction(op))
  server.on('request', op.callback())
  say(issuer)
})
