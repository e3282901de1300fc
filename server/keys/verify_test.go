package keys_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"github.com/countersign/countersign/e2e/fuzz"
	"github.com/countersign/countersign/server/keys"
)

func b64(data []byte) string { return base64.RawURLEncoding.EncodeToString(data) }

// foreign signs with a key that is not ours.
func foreign(t testing.TB, headers map[jose.HeaderKey]any) string {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	opts := &jose.SignerOptions{ExtraHeaders: headers, EmbedJWK: headers["kid"] == nil}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: private}, opts)
	if err != nil {
		t.Fatal(err)
	}
	jws, err := signer.Sign([]byte(`{"sub":"eve"}`))
	if err != nil {
		t.Fatal(err)
	}
	token, err := jws.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// hs256 signs with a public key as the secret.
func hs256(header, payload string, secret []byte) string {
	signed := b64([]byte(header)) + "." + payload
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(signed))
	return signed + "." + b64(mac.Sum(nil))
}

// SECURITY 36 and RFC 8725: what is not exactly a token of ours is refused.
func TestVerifyRefuses(t *testing.T) {
	k := openSite(t).replica(t, "RS256", "ES256")
	token, kid := sign(t, k, "ES256")
	rsToken, rsKID := sign(t, k, "RS256")
	if _, err := k.Verify(token, "JWT"); err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(token, ".")
	// spell is a token of ours with another header, under its old signature.
	spell := func(header string, a ...any) string {
		return b64(fmt.Appendf(nil, header, a...)) + "." + parts[1] + "." + parts[2]
	}
	public := jwks(t, k).Key(rsKID)[0].Key
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	block := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	last := parts[2][len(parts[2])-1]
	sameBits := string(rune(last + 1)) // an ES256 signature leaves four bits over
	other, _ := sign(t, openSite(t).replica(t, "ES256"), "")

	bad := map[string]string{
		"empty":                        "",
		"dots":                         "..",
		"a million dots":               strings.Repeat(".", 1<<20),
		"oversized":                    token + strings.Repeat("A", keys.MaxTokenBytes),
		"none":                         spell(`{"alg":"none","kid":%q,"typ":"JWT"}`, kid),
		"none, no signature":           b64(fmt.Appendf(nil, `{"alg":"none","kid":%q,"typ":"JWT"}`, kid)) + "." + parts[1] + ".",
		"none in another case":         spell(`{"alg":"nOnE","kid":%q,"typ":"JWT"}`, kid),
		"HS256, the PEM as secret":     hs256(fmt.Sprintf(`{"alg":"HS256","kid":%q,"typ":"JWT"}`, rsKID), parts[1], block),
		"HS256, the DER as secret":     hs256(fmt.Sprintf(`{"alg":"HS256","kid":%q,"typ":"JWT"}`, rsKID), parts[1], der),
		"HS256 called RS256":           hs256(fmt.Sprintf(`{"alg":"RS256","kid":%q,"typ":"JWT"}`, rsKID), parts[1], block),
		"PS256 for RS256":              spell(`{"alg":"PS256","kid":%q,"typ":"JWT"}`, rsKID),
		"another key's algorithm":      spell(`{"alg":"RS256","kid":%q,"typ":"JWT"}`, kid),
		"another key's kid":            spell(`{"alg":"RS256","kid":%q,"typ":"JWT"}`, rsKID),
		"another site's key":           other,
		"unknown kid":                  spell(`{"alg":"ES256","kid":"x","typ":"JWT"}`),
		"no kid":                       spell(`{"alg":"ES256","typ":"JWT"}`),
		"no typ":                       spell(`{"alg":"ES256","kid":%q}`, kid),
		"no alg":                       spell(`{"kid":%q,"typ":"JWT"}`, kid),
		"kid is a number":              spell(`{"alg":"ES256","kid":1,"typ":"JWT"}`),
		"kid is null":                  spell(`{"alg":"ES256","kid":null,"typ":"JWT"}`),
		"kid twice":                    spell(`{"alg":"ES256","kid":"x","kid":%q,"typ":"JWT"}`, kid),
		"alg twice":                    spell(`{"alg":"none","alg":"ES256","kid":%q,"typ":"JWT"}`, kid),
		"alg in another case":          spell(`{"ALG":"ES256","kid":%q,"typ":"JWT"}`, kid),
		"alg in both cases":            spell(`{"alg":"ES256","ALG":"none","kid":%q,"typ":"JWT"}`, kid),
		"jku":                          spell(`{"alg":"ES256","jku":"https://evil.example/keys","kid":%q,"typ":"JWT"}`, kid),
		"x5u":                          spell(`{"alg":"ES256","x5u":"https://evil.example/c","kid":%q,"typ":"JWT"}`, kid),
		"crit":                         spell(`{"alg":"ES256","crit":["b64"],"b64":false,"kid":%q,"typ":"JWT"}`, kid),
		"crit, empty":                  spell(`{"alg":"ES256","crit":[],"kid":%q,"typ":"JWT"}`, kid),
		"zip":                          spell(`{"alg":"ES256","zip":"DEF","kid":%q,"typ":"JWT"}`, kid),
		"header has more after it":     spell(`{"alg":"ES256","kid":%q,"typ":"JWT"}{}`, kid),
		"header is cut":                spell(`{"alg":"ES256","kid":%q,"typ":"JWT"`, kid),
		"header is a list":             spell(`[{"alg":"ES256","kid":%q,"typ":"JWT"}]`, kid),
		"header is nested deep":        spell(`%s`, strings.Repeat("[", 8000)),
		"header is respelt":            spell(`{"typ":"JWT","kid":%q,"alg":"ES256"}`, kid),
		"embedded jwk":                 foreign(t, map[jose.HeaderKey]any{"typ": "JWT"}),
		"our kid, a foreign signature": foreign(t, map[jose.HeaderKey]any{"typ": "JWT", "kid": kid}),
		"payload replaced":             parts[0] + "." + b64([]byte(`{"sub":"eve"}`)) + "." + parts[2],
		"payload of another token":     parts[0] + "." + strings.Split(rsToken, ".")[1] + "A." + parts[2],
		"signature missing":            parts[0] + "." + parts[1],
		"signature empty":              parts[0] + "." + parts[1] + ".",
		"signature of zeros":           parts[0] + "." + parts[1] + "." + b64(make([]byte, 64)),
		"signature in DER":             parts[0] + "." + parts[1] + "." + b64(append([]byte{0x30, 0x44}, make([]byte, 68)...)),
		"a fourth segment":             token + ".AAAA",
		"five segments, like a JWE":    token + ".AAAA.AAAA",
		"JSON serialization":           fmt.Sprintf(`{"protected":%q,"payload":%q,"signature":%q}`, parts[0], parts[1], parts[2]),
		"spaces around":                " " + token,
		"a line break inside":          parts[0] + "." + parts[1] + "\n." + parts[2],
		"padding":                      token + "==",
		"other bits after the end":     token[:len(token)-1] + sameBits,
		"standard base64":              strings.NewReplacer("-", "+", "_", "/").Replace(token) + "+",
	}
	for n := range len(token) {
		bad[fmt.Sprintf("the first %d bytes", n)] = token[:n]
	}
	for name, token := range bad {
		if payload, err := k.Verify(token, "JWT"); !errors.Is(err, keys.ErrInvalidToken) || payload != nil {
			t.Errorf("%s: %q, %v", name, payload, err)
		}
	}
	for _, typ := range [][]string{{"at+jwt"}, {"jwt"}, {""}, {}, {"logout+jwt", "at+jwt"}} {
		if _, err := k.Verify(token, typ...); !errors.Is(err, keys.ErrInvalidToken) {
			t.Errorf("typ %q: %v", typ, err)
		}
	}
}

func FuzzVerify(f *testing.F) {
	fuzz.Widely(f)
	k := openSite(f).replica(f, "ES256")
	token, kid := sign(f, k, "")
	parts := strings.Split(token, ".")
	f.Add(parts[0], parts[1], parts[2])
	f.Add(b64(fmt.Appendf(nil, `{"alg":"none","kid":%q,"typ":"JWT"}`, kid)), parts[1], "")
	f.Add(b64([]byte(`{"alg":"ES256","crit":["b64"],"b64":false}`)), parts[1], parts[2])
	f.Fuzz(func(t *testing.T, header, payload, signature string) {
		forged := header + "." + payload + "." + signature
		if _, err := k.Verify(forged, "JWT"); err == nil && forged != token {
			t.Errorf("accepted %q", forged)
		}
	})
}
