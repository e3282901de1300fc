package flow

import (
	"errors"
	"net/http"

	"github.com/countersign/countersign/connector"
	"github.com/countersign/countersign/server/oauth"
	"github.com/countersign/countersign/server/recheck"
)

// recheck has the connector of a signed-in person asked about them, if that was too
// long ago: single sign-on gives nobody a code whom a refresh would give nothing
// (DESIGN: identity is checked again, not assumed). known is false when they have to
// sign in; what was decided is in the visit. The person waits for the answer, and
// nothing is held meanwhile.
func (f *Flow) recheck(r *http.Request, v *visit) (known bool, err error) {
	err = f.cfg.Rechecker.Fresh(r.Context(), v.current.Identity)
	switch {
	case err == nil:
		return true, nil
	case errors.Is(err, recheck.ErrGone): // and so is the session
		v.current = nil
		return false, nil
	case errors.Is(err, recheck.ErrSignInAgain):
	case !errors.Is(err, connector.ErrUpstream):
		return false, err
	case v.st.Request.HasPrompt(oauth.PromptNone):
		return false, v.st.Request.Refuse(oauth.TemporarilyUnavailable, "the person's connector does not answer")
	}
	v.st.StaleSID = v.current.Session.SID
	return false, nil
}
