package script

import (
	"errors"

	"github.com/countersign/countersign/storage/storagetest/pgcluster"
	"github.com/countersign/countersign/storage/storagetest/tcpproxy"
)

var modes = map[string]pgcluster.Mode{"fast": pgcluster.Fast, "immediate": pgcluster.Immediate}

func (w *world) postgres(args []string) error {
	if len(args) == 0 {
		return usageError{}
	}
	switch args[0] {
	case "schema":
		w.ts.Setenv("DSN", pgcluster.Schema(w.t))
		return nil
	case "start":
		return w.startPostgres()
	}
	if w.cluster == nil {
		return errors.New("this script has started no server")
	}
	switch {
	case args[0] == "stop" && len(args) == 2 && modes[args[1]] != 0:
		return w.cluster.Stop(modes[args[1]])
	case args[0] == "restart":
		return w.cluster.Restart(pgcluster.Immediate)
	}
	return usageError{}
}

// startPostgres starts a new server at first, then the one that was stopped.
func (w *world) startPostgres() (err error) {
	if w.cluster != nil {
		return w.cluster.Start()
	}
	if w.cluster, err = pgcluster.Start(pgcluster.Options{}); err != nil {
		return err
	}
	w.ts.Setenv("DSN", w.cluster.DSN())
	return nil
}

func (w *world) proxied(args []string) error {
	switch {
	case len(args) != 1 || w.cluster == nil:
		return usageError{}
	case args[0] == "start":
		w.proxy = tcpproxy.New(w.t, w.cluster.Address())
		w.ts.Setenv("PROXY_DSN", w.cluster.DSNAt(w.proxy.Address()))
		return nil
	case w.proxy == nil:
		return usageError{}
	}
	change := map[string]func(){"swallow": w.proxy.Swallow, "forward": w.proxy.Forward, "sever": w.proxy.Sever}[args[0]]
	if change == nil {
		return usageError{}
	}
	change()
	return nil
}
