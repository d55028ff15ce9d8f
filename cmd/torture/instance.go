package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"ponix/runtime/local"
)

// instance is a process of ponix that can be started again.
type instance struct {
	name string
	path string
	args []string
	env  []string
	dir  string
	nats []*proxy // its ways to the nodes, if they are its own

	metrics string // where it tells its goroutines

	restarting sync.Mutex // held through a restart: two faults may want one

	mu     sync.Mutex
	cmd    *exec.Cmd
	ended  chan struct{}
	wanted bool // its end
}

func (i *instance) start() error {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.launch()
}

// launch starts a process. The caller holds the lock.
func (i *instance) launch() error {
	log, err := os.OpenFile(filepath.Join(i.dir, i.name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close() //nolint:errcheck // the child has its own
	cmd := exec.Command(i.path, i.args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = i.dir, log, log
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "PONIX_") {
			cmd.Env = append(cmd.Env, v)
		}
	}
	cmd.Env = append(cmd.Env, i.env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan struct{})
	i.cmd, i.ended, i.wanted = cmd, ended, false
	go func() {
		cmd.Wait() //nolint:errcheck // how it ends is for its log
		close(ended)
		i.again(cmd)
	}()
	return nil
}

// again starts a process again that has ended with an error, as whatever watches over it
// in production does: older versions end where NATS does not answer them at
// their start. One that has crashed stays away, and is missed.
func (i *instance) again(ended *exec.Cmd) {
	time.Sleep(100 * time.Millisecond)
	i.restarting.Lock()
	defer i.restarting.Unlock()
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.cmd == ended && !i.wanted && ended.ProcessState.ExitCode() == 1 {
		i.launch() //nolint:errcheck // it is missed
	}
}

// signal sends s to the process; one that has ended is left alone.
func (i *instance) signal(s syscall.Signal) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if err := i.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	return nil
}

// end signals and waits.
func (i *instance) end(s syscall.Signal) error {
	i.mu.Lock()
	i.wanted = true
	i.mu.Unlock()
	if err := i.signal(s); err != nil {
		return err
	}
	select {
	case <-i.ended:
		return nil
	case <-time.After(40 * time.Second):
		return errors.Join(fmt.Errorf("%s did not end within 40 s of %s", i.name, s), i.signal(syscall.SIGKILL))
	}
}

// restart ends the process by s and starts it again, as the program of path, or as the
// one that it was where that is empty.
func (i *instance) restart(s syscall.Signal, path string) error {
	i.restarting.Lock()
	defer i.restarting.Unlock()
	if err := i.end(s); err != nil {
		return err
	}
	if path != "" {
		i.path = path
	}
	return i.start()
}

// ownWay gives the instance a proxy to each node, so that it can be cut off alone.
func (i *instance) ownWay(nodes []*local.NATSNode) error {
	var urls []string
	for _, n := range nodes {
		p, err := newProxy(strings.TrimPrefix(n.URL(), "nats://"))
		if err != nil {
			return err
		}
		i.nats = append(i.nats, p)
		urls = append(urls, "nats://"+p.addr())
	}
	i.env = append(slices.Clone(i.env), "PONIX_NATS_URL="+strings.Join(urls, ","))
	return nil
}

// tellMetrics gives the instance an address for its metrics.
func (i *instance) tellMetrics() error {
	port, err := freePort()
	i.metrics = net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	i.env = append(slices.Clone(i.env), "PONIX_METRICS_ADDR="+i.metrics)
	return err
}

// way sets how everything goes between the instance and NATS.
func (i *instance) way(w way) {
	for _, p := range i.nats {
		p.set(w)
	}
}

// connections is how many the instance has to NATS.
func (i *instance) connections() (n int) {
	for _, p := range i.nats {
		n += p.connections()
	}
	return n
}

func (i *instance) close() {
	for _, p := range i.nats {
		p.close()
	}
}

func (i *instance) pid() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.cmd.Process.Pid
}
