package config

import (
	"maps"
	"slices"
	"strings"

	"github.com/countersign/countersign/connector/oidc/groups"
)

// google checks what asks Google for groups.
func (c *checker) google(path string, o *OIDC) {
	if o.ServiceAccountFilePath == "" {
		c.notEmpty(path+".serviceAccountFilePath", o.ServiceAccountFilePath)
		for _, key := range []string{".domainToAdminEmail", ".fetchTransitiveGroupMembership"} {
			if c.given(path+key) && !c.given(path+".serviceAccountFilePath") {
				c.problem(path+key, "does nothing without serviceAccountFilePath: add it, or remove this")
			}
		}
		return
	}
	if o.Issuer != "https://accounts.google.com" {
		c.problem(path+".serviceAccountFilePath", "asks Google for groups: issuer must be https://accounts.google.com")
	}
	if text, ok := c.readable(path+".serviceAccountFilePath", o.ServiceAccountFilePath); ok {
		var err error
		if o.ServiceAccount, err = groups.ParseServiceAccount(text); err != nil {
			c.problem(path+".serviceAccountFilePath", "the file %q is no key of a service account: %v", o.ServiceAccountFilePath, err)
		}
	}
	if len(o.DomainToAdminEmail) == 0 {
		c.problem(path+".domainToAdminEmail", "has nobody to ask for: write an administrator for each domain, or {\"*\": admin@example.com}")
	}
	for _, domain := range slices.Sorted(maps.Keys(o.DomainToAdminEmail)) {
		at := join(path+".domainToAdminEmail", domain)
		if domain != "*" && !domainName.MatchString(strings.ToLower(domain)) {
			c.problem(at, "%q is no domain: write what stands behind the @, or \"*\" for every other", clip(domain))
		}
		if admin := o.DomainToAdminEmail[domain]; !strings.Contains(admin, "@") {
			c.problem(at, "%q is no address of an administrator", clip(admin))
		}
	}
	if c.given(path+".scopes") && !slices.Contains(o.Scopes, "email") {
		c.problem(path+".scopes", "must have email: Google is asked for the groups of an address")
	}
}

// microsoft checks what asks Microsoft Graph for groups.
func (c *checker) microsoft(path string, o *OIDC) {
	for _, key := range []string{".groupNameFormat", ".onlySecurityGroups", ".graphURL"} {
		switch {
		case !c.given(path + key):
		case !o.InsecureEnableGroups:
			c.problem(path+key, "does nothing without insecureEnableGroups: true")
		case o.ClaimMapping.Groups != "":
			c.problem(path+key, "is given beside claimMapping.groups, which says where groups are: remove one")
		case o.GraphURL == "" && groups.GraphOf(o.Issuer) == "":
			c.problem(path+key, "asks Microsoft Graph, and the issuer is none of Entra ID's: add graphURL, or remove this")
		}
	}
	c.oneOf(path+".groupNameFormat", orElse(o.GroupNameFormat, "id"), "id", "name")
	if (o.GroupNameFormat == "name" || o.OnlySecurityGroups) && !c.given(path+".scopes") {
		c.problem(path+".scopes", "is missing: names and kinds of groups need a permission: [openid, profile, email, offline_access, GroupMember.Read.All]")
	}
	if o.GroupNameFormat == "name" {
		c.warn(path+".groupNameFormat", "names of groups are not unique in Entra ID: whoever may make a group there can give it the name of another")
	}
	if o.GraphURL == "" {
		c.notEmpty(path+".graphURL", o.GraphURL)
		o.GraphURL = groups.GraphOf(o.Issuer)
		return
	}
	if _, err := groups.ParseGraph(o.GraphURL); err != nil {
		c.problem(path+".graphURL", "%v", err)
	}
}
