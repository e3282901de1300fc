package main

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/bcrypt"
	"golang.org/x/term"
)

// Parameters of argon2id: the first choice of the OWASP Password Storage Cheat
// Sheet. More memory would let a flood of sign-ins exhaust a small server.
const (
	argonMemoryKiB = 19 << 10
	argonPasses    = 2
	argonLanes     = 1
	argonSaltBytes = 16
	argonHashBytes = 32

	bcryptCost = 12
	// bcryptMaxBytes is where bcrypt stops reading.
	bcryptMaxBytes = 72
	// maxPasswordBytes keeps a wrong pipe from being taken for a password.
	maxPasswordBytes = 1024
)

func hashPasswordCommand() *cobra.Command {
	var useBcrypt bool
	cmd := &cobra.Command{
		Use:   "hash-password",
		Short: "Turn a password into a hash for staticPasswords",
		Long: `Read a password from standard input and print its hash, for the key "hash" of
staticPasswords. On a terminal, the password is asked for twice and not shown;
otherwise it is the one line that is read.

The hash is argon2id, or bcrypt with --bcrypt, which Dex reads too.`,
		Example: `  countersign hash-password
  pass show login/admin | countersign hash-password --bcrypt`,
		Args: usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			password, err := readPassword(cmd)
			if err != nil {
				return err
			}
			hash, err := hashPassword(password, useBcrypt, rand.Reader)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), hash)
			return err
		},
	}
	cmd.Flags().BoolVar(&useBcrypt, "bcrypt", false, "make a bcrypt hash instead of argon2id")
	return cmd
}

// hashPassword returns an argon2id hash in PHC form, or a bcrypt hash.
func hashPassword(password string, useBcrypt bool, random io.Reader) (string, error) {
	switch {
	case password == "":
		return "", errors.New("the password is empty")
	case len(password) > maxPasswordBytes:
		return "", fmt.Errorf("the password has more than %d bytes", maxPasswordBytes)
	case useBcrypt && len(password) > bcryptMaxBytes:
		return "", fmt.Errorf("the password has more than %d bytes, of which bcrypt would ignore the rest: leave out --bcrypt", bcryptMaxBytes)
	case useBcrypt:
		hash, err := bcrypt.GenerateFromPassword([]byte(password), bcryptCost)
		return string(hash), err
	}
	salt := make([]byte, argonSaltBytes)
	if _, err := io.ReadFull(random, salt); err != nil {
		return "", fmt.Errorf("reading a salt: %w", err)
	}
	sum := argon2.IDKey([]byte(password), salt, argonPasses, argonMemoryKiB, argonLanes, argonHashBytes)
	b64 := base64.RawStdEncoding
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, argonMemoryKiB, argonPasses, argonLanes,
		b64.EncodeToString(salt), b64.EncodeToString(sum)), nil
}

// readPassword asks on a terminal, and reads one line otherwise.
func readPassword(cmd *cobra.Command) (string, error) {
	if f, ok := cmd.InOrStdin().(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return askTwice(func(prompt string) (string, error) {
			return ask(cmd.Context(), f, cmd.ErrOrStderr(), prompt)
		})
	}
	return oneLine(cmd.InOrStdin())
}

// oneLine reads a password that was piped in.
func oneLine(in io.Reader) (string, error) {
	data, err := io.ReadAll(io.LimitReader(in, maxPasswordBytes+3))
	if err != nil {
		return "", fmt.Errorf("reading the password: %w", err)
	}
	line := strings.TrimSuffix(strings.TrimSuffix(string(data), "\n"), "\r")
	if strings.ContainsAny(line, "\r\n") {
		return "", errors.New("standard input has more than one line: give the password only")
	}
	return line, nil
}

// askTwice has a person type the password again, since they cannot see it.
func askTwice(ask func(prompt string) (string, error)) (string, error) {
	first, err := ask("Password: ")
	if err != nil || first == "" {
		return "", err
	}
	second, err := ask("Again: ")
	if err != nil {
		return "", err
	}
	if first != second {
		return "", errors.New("the two passwords differ")
	}
	return first, nil
}

// ask reads a line from a terminal without showing it. When ctx ends first, the
// terminal is left as it was.
func ask(ctx context.Context, terminal *os.File, prompts io.Writer, prompt string) (string, error) {
	fd := int(terminal.Fd())
	before, err := term.GetState(fd)
	if err != nil {
		return "", fmt.Errorf("asking the terminal: %w", err)
	}
	type answer struct {
		line []byte
		err  error
	}
	answered := make(chan answer, 1)
	fmt.Fprint(prompts, prompt)
	defer fmt.Fprintln(prompts)
	go func() {
		line, err := term.ReadPassword(fd)
		answered <- answer{line, err}
	}()
	select {
	case a := <-answered:
		return string(a.line), a.err
	case <-ctx.Done():
		return "", errors.Join(ctx.Err(), term.Restore(fd, before))
	}
}
