package script

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Process is a program that runs in the background, its output in files.
type Process struct {
	cmd  *exec.Cmd
	done chan struct{}
}

// Start runs a command with its output in two files.
func Start(cmd *exec.Cmd, out, errs string) (*Process, error) {
	stdout, err := os.Create(out)
	if err != nil {
		return nil, err
	}
	defer stdout.Close()
	stderr, err := os.Create(errs)
	if err != nil {
		return nil, err
	}
	defer stderr.Close()
	cmd.Stdout, cmd.Stderr = stdout, stderr
	// A group of its own: the interrupt key is for the tests, which clean up.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &Process{cmd: cmd, done: make(chan struct{})}
	go func() {
		_ = cmd.Wait() // how it ended is in its state
		close(p.done)
	}()
	return p, nil
}

// PID is the process id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Signal sends a signal.
func (p *Process) Signal(s os.Signal) error { return p.cmd.Process.Signal(s) }

// Kill ends the process at once, and waits until it is gone.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill() // it may have ended
	<-p.done
}

// Ended reports that the process is gone.
func (p *Process) Ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// Wait waits for the end, and says how it was: the exit code, or the signal.
func (p *Process) Wait() (string, error) {
	select {
	case <-p.done:
	case <-time.After(patience):
		return "", errors.New("it does not end")
	}
	if status, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return names[status.Signal()], nil
	}
	return strconv.Itoa(p.cmd.ProcessState.ExitCode()), nil
}

// names are the signals that scripts send.
var names = map[syscall.Signal]string{
	syscall.SIGTERM: "TERM", syscall.SIGINT: "INT", syscall.SIGKILL: "KILL", syscall.SIGHUP: "HUP",
}

func (w *world) start(args []string) error {
	set, args := options(args)
	if len(args) < 2 {
		return usageError{}
	}
	name, program := args[0], args[1]
	if p := w.processes[name]; p != nil && !p.Ended() {
		return fmt.Errorf("%s runs already", name)
	}
	cmd := exec.Command(program, args[2:]...)
	if program == "countersign" {
		cmd = exec.Command(w.bin+"/countersign", args[2:]...)
	}
	cmd.Dir = w.path(".")
	cmd.Env = append([]string{"PATH=" + w.ts.Getenv("PATH"), "HOME=" + w.dir, "TMPDIR=" + w.ts.Getenv("TMPDIR")}, set["-env"]...)
	p, err := Start(cmd, w.path(name+".out"), w.path(name+".err"))
	if err != nil {
		return err
	}
	w.processes[name] = p
	return nil
}

func (w *world) process(name string) (*Process, error) {
	if p := w.processes[name]; p != nil {
		return p, nil
	}
	return nil, fmt.Errorf("nothing was started as %s", name)
}

func (w *world) signal(args []string) error {
	if len(args) != 2 {
		return usageError{}
	}
	p, err := w.process(args[1])
	if err != nil {
		return err
	}
	for signal, name := range names {
		if name == args[0] {
			return p.Signal(signal)
		}
	}
	return usageError{}
}

func (w *world) ended(args []string) error {
	if len(args) != 2 {
		return usageError{}
	}
	p, err := w.process(args[0])
	if err != nil {
		return err
	}
	how, err := p.Wait()
	out, errs := w.output(args[0])
	fmt.Fprint(w.ts.Stdout(), out)
	fmt.Fprint(w.ts.Stderr(), errs)
	if err == nil && how != args[1] {
		err = fmt.Errorf("%s ended with %s, want %s", args[0], how, args[1])
	}
	return err
}

// output is what a process has written so far.
func (w *world) output(name string) (out, errs string) {
	return w.text(name + ".out"), w.text(name + ".err")
}

// text is the content of a file that may not be there yet.
func (w *world) text(name string) string {
	data, _ := os.ReadFile(w.path(name))
	return string(data)
}

// alive fails early when a process that is waited for has ended.
func (w *world) alive(name string) error {
	p, err := w.process(name)
	if err != nil || !p.Ended() {
		return err
	}
	out, errs := w.output(name)
	return fmt.Errorf("%s has ended:\n%s", name, strings.TrimSpace(out+errs))
}
