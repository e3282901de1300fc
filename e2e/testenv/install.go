package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// install installs packages without starting the services they bring.
func install(lacking []need) (err error) {
	names := packages(lacking)
	fmt.Fprintln(os.Stderr, "testenv: installing", strings.Join(names, " "))
	allow, err := forbidServices("/usr/sbin/policy-rc.d")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, allow()) }()
	if err := apt("update"); err != nil {
		return err
	}
	return apt(append([]string{"install", "--yes", "--no-install-recommends"}, names...)...)
}

// forbidServices makes Debian's packages start nothing, until the function it
// returns is called. A policy that is there already stays.
func forbidServices(policy string) (allow func() error, err error) {
	file, err := os.OpenFile(policy, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o755)
	if errors.Is(err, os.ErrExist) {
		return func() error { return nil }, nil
	}
	if err != nil {
		return nil, fmt.Errorf("keeping services from starting: %w", err)
	}
	allow = func() error { return os.Remove(policy) }
	_, err = file.WriteString("#!/bin/sh\nexit 101\n") // "action forbidden by policy"
	if err = errors.Join(err, file.Close()); err != nil {
		return nil, errors.Join(fmt.Errorf("keeping services from starting: %w", err), allow())
	}
	return allow, nil
}

func apt(args ...string) error {
	cmd := exec.Command("apt-get", append([]string{"-qq", "-o", "Dpkg::Options::=--force-confold", "-o", "DPkg::Lock::Timeout=300"}, args...)...)
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("apt-get %s: %w", args[0], err)
	}
	return nil
}
