package ldap

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	goldap "github.com/go-ldap/ldap/v3"

	"github.com/countersign/countersign/connector"
)

// accountAttributes say whether an account may be used: Active Directory's, 389
// Directory Server's and FreeIPA's, OpenLDAP's password policy.
var accountAttributes = []string{"accountExpires", "nsAccountLock", "pwdAccountLockedTime", "userAccountControl"}

// What people are shown.
const (
	msgDisabled = "Your account is disabled. Please ask your administrator."
	msgExpired  = "Your account has expired. Please ask your administrator."
	msgLocked   = "Your account is locked after too many wrong passwords. Please wait, or ask your administrator."
	msgHours    = "You may not sign in at this time of day."
	msgPlace    = "You may not sign in from here."
	msgPassword = "Your password has expired. Please change it where you usually do, then sign in again."
	msgMust     = "You must change your password before you can sign in. Please change it where you usually do."
)

// subCodes are what Active Directory adds to invalidCredentials where it is more
// than that. All but 775 are given to who knows the password only; 775 tells a
// stranger no more than that they have locked somebody out.
var subCodes = map[string]string{
	"530": msgHours, "531": msgPlace, "532": msgPassword, "533": msgDisabled,
	"701": msgExpired, "773": msgMust, "775": msgLocked,
}

// subCode is in the diagnostic message: "… AcceptSecurityContext error, data 52e, v4563".
var subCode = regexp.MustCompile(`AcceptSecurityContext error, data ([0-9a-fA-F]{3,8})\b`)

// notBound says what it means that a bind was answered with an error.
func notBound(e *goldap.Error) error {
	switch e.ResultCode {
	case goldap.LDAPResultInvalidCredentials:
		if m := subCode.FindStringSubmatch(diagnosis(e)); m != nil {
			if message := subCodes[strings.ToLower(m[1])]; message != "" {
				return &connector.DeniedError{Message: message}
			}
		}
		return connector.ErrInvalidCredentials
	case goldap.LDAPResultConstraintViolation, // OpenLDAP's password policy
		goldap.LDAPResultNoSuchObject,                // gone since it was found
		goldap.LDAPResultInappropriateAuthentication, // an entry without a password
		goldap.LDAPResultUnwillingToPerform:          // 389 Directory Server: inactivated
		return fmt.Errorf("%w (%s)", connector.ErrInvalidCredentials, goldap.LDAPResultCodeMap[e.ResultCode])
	}
	return fmt.Errorf("%w: binding as the person: %w", connector.ErrUpstream, e)
}

func diagnosis(e *goldap.Error) string {
	if e.Err == nil {
		return ""
	}
	return e.Err.Error()
}

const (
	// accountDisable is of userAccountControl ([MS-ADTS] section 2.2.16).
	accountDisable = 0x2
	// neverExpires is of accountExpires ([MS-ADA1] section 2.4), as 0 is.
	neverExpires = 1<<63 - 1
	// windowsEpoch is 1601 in Unix time: accountExpires counts 100 ns since.
	windowsEpoch = -11644473600
)

// blocked says why an account may not be used, in words for the person, or "". What
// cannot be read blocks: it was written to mean something.
func blocked(e *goldap.Entry, now time.Time) string {
	first := func(attr string) string {
		if all := values(e, attr); len(all) > 0 {
			return all[0]
		}
		return ""
	}
	if v := first("userAccountControl"); v != "" {
		flags, err := strconv.ParseInt(v, 10, 64)
		if err != nil || flags&accountDisable != 0 {
			return msgDisabled
		}
	}
	if v := first("accountExpires"); v != "" {
		ticks, err := strconv.ParseInt(v, 10, 64)
		if err != nil || ticks != 0 && ticks != neverExpires && !now.Before(time.Unix(windowsEpoch+ticks/1e7, ticks%1e7*100)) {
			return msgExpired
		}
	}
	if strings.EqualFold(first("nsAccountLock"), "true") {
		return msgDisabled
	}
	// Locked by an administrator, for good (draft-behera-ldap-password-policy 5.3.3).
	if first("pwdAccountLockedTime") == "000001010000Z" {
		return msgDisabled
	}
	return ""
}
