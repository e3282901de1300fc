package simplesamlphp

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// People replaces all accounts by these, with their groups. The address of each is
// NAME@example.org, and the password is Password. Who is signed in there stays so.
func (s *Server) People(groups map[string][]string) {
	s.t.Helper()
	var text strings.Builder
	text.WriteString("<?php\n$config = ['users' => ['exampleauth:UserPass',\n")
	for _, name := range slices.Sorted(maps.Keys(groups)) {
		fmt.Fprintf(&text, "  '%[1]s:%[2]s' => ['uid' => ['%[1]s'], 'mail' => ['%[1]s@example.org'], 'displayName' => ['%[1]s'], 'groups' => ['%[3]s']],\n",
			name, Password, strings.Join(groups[name], "', '"))
	}
	text.WriteString("]];\n")
	s.write("config/authsources.php", text.String())
}
