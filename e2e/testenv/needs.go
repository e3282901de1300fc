package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/countersign/countersign/storage/storagetest/pgcluster"
)

// need is something the tests run that Go cannot fetch.
type need struct {
	// what it is, for people.
	what string
	// packages of Debian and Ubuntu that bring it.
	packages []string
	// found reports whether it is there.
	found func() bool
}

// needs is the whole list.
var needs = []need{
	{"the PostgreSQL server (storage)", []string{"postgresql"}, func() bool {
		_, err := pgcluster.Binaries()
		return err == nil
	}},
	{"slapd, an LDAP server (connectors)", []string{"slapd"}, program("slapd")},
	{"ldapadd and ldapsearch (connectors)", []string{"ldap-utils"}, all(program("ldapadd"), program("ldapsearch"))},
	{"Samba, an Active Directory domain controller (connectors)",
		[]string{"samba", "samba-ad-dc", "samba-ad-provision", "samba-dsdb-modules", "samba-vfs-modules"},
		all(program("samba"), program("samba-tool"), domainController)},
	{"SimpleSAMLphp with PHP (connectors)", []string{"simplesamlphp", "php-cli", "php-xml", "php-mbstring"}, all(program("php"), file("/usr/share/simplesamlphp/www"))},
	{"Java (Keycloak)", []string{"default-jre-headless"}, program("java")},
	{"Maven (fetches Keycloak)", []string{"maven"}, program("mvn")},
	{"Chromium (the pages)", []string{"chromium"}, program("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")},
	{"a font (screenshots of the pages)", []string{"fonts-dejavu-core"}, font},
	{"Node.js with npm (axe-core checks the pages)", []string{"nodejs", "npm"}, all(program("node"), program("npm"))},
}

// program finds a program by one of its names, also where daemons are.
func program(names ...string) func() bool {
	return func() bool {
		for _, name := range names {
			for _, path := range []string{name, "/usr/sbin/" + name, "/usr/local/sbin/" + name} {
				if _, err := exec.LookPath(path); err == nil {
					return true
				}
			}
		}
		return false
	}
}

func file(path string) func() bool {
	return func() bool {
		_, err := os.Stat(path)
		return err == nil
	}
}

func all(conditions ...func() bool) func() bool {
	return func() bool {
		for _, met := range conditions {
			if !met() {
				return false
			}
		}
		return true
	}
}

// domainController: samba may be there without what makes it one.
func domainController() bool {
	modules, _ := filepath.Glob("/usr/lib/*/samba/ldb/samldb.so")
	_, err := os.Stat("/usr/share/samba/setup/provision.ldif")
	return len(modules) > 0 && err == nil
}

func font() bool {
	found := errors.New("found")
	err := filepath.WalkDir("/usr/share/fonts", func(path string, _ fs.DirEntry, err error) error {
		if err == nil && (strings.HasSuffix(path, ".ttf") || strings.HasSuffix(path, ".otf")) {
			return found
		}
		return nil
	})
	return errors.Is(err, found)
}

// missing are the needs that are not met.
func missing() []need {
	var list []need
	for _, n := range needs {
		if !n.found() {
			list = append(list, n)
		}
	}
	return list
}

// provide installs what is missing, or says what to install.
func provide() error {
	lacking := missing()
	if len(lacking) == 0 {
		return nil
	}
	if mayInstall() {
		if err := install(lacking); err != nil {
			return fmt.Errorf("%w\n%s", err, advice(lacking))
		}
		lacking = missing()
	}
	if len(lacking) > 0 {
		return errors.New(advice(lacking))
	}
	return nil
}

// advice says exactly what to install.
func advice(lacking []need) string {
	var text strings.Builder
	text.WriteString("the tests need what is not here:\n")
	for _, n := range lacking {
		fmt.Fprintf(&text, "  %s\n", n.what)
	}
	fmt.Fprintf(&text, "On Debian or Ubuntu: apt-get install --no-install-recommends %s", strings.Join(packages(lacking), " "))
	return text.String()
}

func packages(lacking []need) []string {
	var names []string
	for _, n := range lacking {
		names = append(names, n.packages...)
	}
	return names
}

// mayInstall: we are root where apt-get is.
func mayInstall() bool {
	_, err := exec.LookPath("apt-get")
	return err == nil && os.Geteuid() == 0
}
