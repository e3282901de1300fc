package main

import (
	"os/exec"
	"runtime"
)

// openBrowser shows an address in the person's browser. The caller has checked
// that it is an http or https URL; it is one argument and passes through no shell.
func openBrowser(address string) error {
	var cmd *exec.Cmd
	switch runtime.GOOS {
	case "windows":
		cmd = exec.Command("rundll32", "url.dll,FileProtocolHandler", address)
	case "darwin":
		cmd = exec.Command("open", address)
	default:
		cmd = exec.Command("xdg-open", address)
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	go cmd.Wait() // so that it does not stay a zombie; the browser may run on
	return nil
}
