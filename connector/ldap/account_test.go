package ldap

import (
	"errors"
	"fmt"
	"testing"
	"time"

	goldap "github.com/go-ldap/ldap/v3"

	"github.com/countersign/countersign/connector"
)

func TestNotBound(t *testing.T) {
	diagnosis := "80090308: LdapErr: DSID-0C090446, comment: AcceptSecurityContext error, data %s, v2580\x00"
	for code, message := range map[string]string{
		"525": "", "52e": "", "52E": "", "568": "", "0": "", "": "", "5333": "", "533x": "",
		"530": msgHours, "531": msgPlace, "532": msgPassword, "533": msgDisabled, "701": msgExpired, "773": msgMust, "775": msgLocked,
	} {
		err := notBound(&goldap.Error{ResultCode: goldap.LDAPResultInvalidCredentials, Err: fmt.Errorf(diagnosis, code)})
		denied, ok := errors.AsType[*connector.DeniedError](err)
		if ok != (message != "") || ok && denied.Message != message || !ok && err != connector.ErrInvalidCredentials {
			t.Errorf("data %s: %v", code, err)
		}
	}
	for code, want := range map[uint16]error{
		goldap.LDAPResultInvalidCredentials: connector.ErrInvalidCredentials, goldap.LDAPResultConstraintViolation: connector.ErrInvalidCredentials,
		goldap.LDAPResultNoSuchObject: connector.ErrInvalidCredentials, goldap.LDAPResultUnwillingToPerform: connector.ErrInvalidCredentials,
		goldap.LDAPResultConfidentialityRequired: connector.ErrUpstream, goldap.LDAPResultReferral: connector.ErrUpstream,
		goldap.LDAPResultOther: connector.ErrUpstream, goldap.LDAPResultInsufficientAccessRights: connector.ErrUpstream,
	} {
		if err := notBound(&goldap.Error{ResultCode: code}); !errors.Is(err, want) {
			t.Errorf("%d: %v", code, err)
		}
	}
}

func TestBlocked(t *testing.T) {
	now := time.Date(2026, 7, 1, 0, 0, 0, 0, time.UTC)
	ticks := func(at time.Time) string { return fmt.Sprint((at.Unix() - windowsEpoch) * 1e7) }
	for _, tt := range []struct{ attribute, value, want string }{
		{"userAccountControl", "512", ""}, {"userAccountControl", "66048", ""}, {"userAccountControl", "514", msgDisabled},
		{"useraccountcontrol", "66050", msgDisabled}, {"userAccountControl", "0x202", msgDisabled}, {"userAccountControl", "-2147483646", msgDisabled},
		{"accountExpires", "0", ""}, {"accountExpires", "9223372036854775807", ""}, {"accountExpires", "never", msgExpired},
		{"accountExpires", ticks(now.Add(time.Second)), ""}, {"accountExpires", ticks(now), msgExpired}, {"accountExpires", ticks(now.Add(-time.Hour)), msgExpired},
		{"accountExpires", "1", msgExpired}, {"accountExpires", "-5", msgExpired}, {"accountExpires", "9223372036854775806", ""}, {"accountExpires", "132223104000000000", msgExpired},
		{"nsAccountLock", "TRUE", msgDisabled}, {"nsAccountLock", "false", ""},
		{"pwdAccountLockedTime", "000001010000Z", msgDisabled}, {"pwdAccountLockedTime", "20260630000000Z", ""},
		{"description", "disabled", ""},
	} {
		e := &goldap.Entry{DN: "uid=a", Attributes: []*goldap.EntryAttribute{goldap.NewEntryAttribute(tt.attribute, []string{tt.value})}}
		if got := blocked(e, now); got != tt.want {
			t.Errorf("%s %s: %q", tt.attribute, tt.value, got)
		}
	}
}

func TestBinaryIDs(t *testing.T) {
	for _, tt := range []struct{ attribute, raw, text string }{
		{"objectGUID", "\x33\x22\x11\x00\x55\x44\x77\x66\x88\x99\xaa\xbb\xcc\xdd\xee\xff", "00112233-4455-6677-8899-aabbccddeeff"},
		{"OBJECTGUID", string(make([]byte, 16)), "00000000-0000-0000-0000-000000000000"},
		{"objectSid", "\x01\x01\x00\x00\x00\x00\x00\x05\x12\x00\x00\x00", "S-1-5-18"},
		{"objectSid", "\x01\x05\x00\x00\x00\x00\x00\x05\x15\x00\x00\x00\xff\xff\xff\xff\x01\x00\x00\x00\x02\x00\x00\x00\xf4\x01\x00\x00", "S-1-5-21-4294967295-1-2-500"},
		{"objectsid", "\x01\x00\x00\x00\x00\x00\x00\x05", "S-1-5"},
		{"uid", "müller", "müller"},
	} {
		got, err := readable(tt.attribute, tt.raw)
		back, err2 := raw(tt.attribute, tt.text)
		if got != tt.text || back != tt.raw || err != nil || err2 != nil {
			t.Errorf("%s %q: %q, %v; back: %q, %v", tt.attribute, tt.raw, got, err, back, err2)
		}
	}
	for _, bad := range [][2]string{{"objectGUID", "short"}, {"objectSid", ""}, {"objectSid", "\x02\x00\x00\x00\x00\x00\x00\x05"}, {"objectSid", "\x01\x02\x00\x00\x00\x00\x00\x05\x12\x00\x00\x00"}, {"uid", "\xff"}} {
		if got, err := readable(bad[0], bad[1]); err == nil {
			t.Errorf("%q is %q", bad, got)
		}
	}
	for _, bad := range [][2]string{{"objectGUID", "00112233"}, {"objectGUID", ""}, {"objectSid", "S-1"}, {"objectSid", "S-2-5-18"}, {"objectSid", "S-1-5-4294967296"}, {"objectSid", "S-1-5-x"}, {"objectSid", "*"}} {
		if got, err := raw(bad[0], bad[1]); err == nil {
			t.Errorf("%q is %q", bad, got)
		}
	}
}

// What a directory calls a binary id comes back as the same bytes, or not at all.
func FuzzSID(f *testing.F) {
	f.Add("\x01\x01\x00\x00\x00\x00\x00\x05\x12\x00\x00\x00")
	f.Fuzz(func(t *testing.T, value string) {
		text, err := sidText(value)
		if err != nil {
			return
		}
		if back, err := sidBytes(text); err != nil || back != value {
			t.Errorf("%q is %q is %q, %v", value, text, back, err)
		}
	})
}

func TestFilters(t *testing.T) {
	for _, tt := range []struct {
		filter string
		attrs  []string
		values []string
		want   string
	}{
		{"", []string{"uid"}, []string{"müller"}, `(uid=m\c3\bcller)`},
		{"(a=b)", []string{"uid"}, []string{"a(b)*\\\x00"}, `(&(a=b)(uid=a\28b\29\2a\5c\00))`},
		{"(a=b)", []string{"uid", "mail"}, []string{"x"}, `(&(a=b)(|(uid=x)(mail=x)))`},
		{"", []string{"member:1.2.840.113556.1.4.1941:"}, []string{"CN=a\\,b", "CN=c"}, `(|(member:1.2.840.113556.1.4.1941:=CN=a\5c,b)(member:1.2.840.113556.1.4.1941:=CN=c))`},
	} {
		if got := equal(tt.filter, tt.attrs, tt.values...); got != tt.want {
			t.Errorf("got %s, want %s", got, tt.want)
		}
		if _, err := goldap.CompileFilter(tt.want); err != nil {
			t.Errorf("%s: %v", tt.want, err)
		}
	}
	for attr, ok := range map[string]bool{
		"uid": true, "userCertificate;binary": true, "1.2.3": true, "DN": true, "member:1.2.840.113556.1.4.1941:": true, "cn:dn:caseExactMatch:": true,
		"": false, "a b": false, "uid=*)(a": false, "member:": false, "member:1.2": false, "uid)": false, ":x:": false, "é": false,
	} {
		if err := matching(attr); (err == nil) != ok {
			t.Errorf("%q: %v", attr, err)
		}
	}
	for filter, ok := range map[string]bool{
		"(a=b)": true, "(&(a=b)(!(c=d)))": true, "(a=*)": true,
		"a=b": false, "(a=b)(c=d)": false, "(a=b": false, "(a=b))": false, "()": false, "(a=b))(|(a=b)": false,
	} {
		if err := checkFilter(filter); (err == nil) != ok {
			t.Errorf("%q: %v", filter, err)
		}
	}
}
