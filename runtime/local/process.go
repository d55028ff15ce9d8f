package local

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// process is a child that dies with this process, whatever ends it.
type process struct {
	name     string
	cmd      *exec.Cmd
	log      string
	logStart int64
	stopping atomic.Bool
	exited   chan struct{}
	err      error // after exited
}

// escalation is the signals that end a child, each given its time.
type escalation []struct {
	signal syscall.Signal
	grace  time.Duration
}

// launch starts cmd with its output appended to log.
//
// Linux sends the parent-death signal when the thread that started the child ends, so the child
// gets a thread that lives as long as it does (prctl(2), PR_SET_PDEATHSIG).
func launch(name, log string, cmd *exec.Cmd) (*process, error) {
	file, start, err := openLog(log)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	cmd.Stdout, cmd.Stderr = file, file
	p := &process{name: name, cmd: cmd, log: log, logStart: start, exited: make(chan struct{})}
	started := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlock: the thread ends with this goroutine
		err := cmd.Start()
		started <- err
		if err != nil {
			return
		}
		p.err = cmd.Wait()
		close(p.exited)
	}()
	return p, <-started
}

// environment is this process's without Ponix's own variables: an engine has no
// use for the secrets among them, and may run as another user.
func environment() []string {
	return slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "PONIX_") })
}

// wait returns when the child has ended by itself: nil if it succeeded.
func (p *process) wait(ctx context.Context) error {
	select {
	case <-p.exited:
		if p.err != nil {
			return p.failure()
		}
		return nil
	case <-ctx.Done():
		p.kill()
		return ctx.Err()
	}
}

// failure is the error of a child that has ended, with the tail of its log.
func (p *process) failure() error {
	how := "ended"
	if p.err != nil {
		how = p.err.Error()
	}
	return fmt.Errorf("%s: %s; the end of %s:\n%s", p.name, how, p.log, logTail(p.log, p.logStart))
}

// report sends a failure to failed if the child ends without having been stopped.
func (p *process) report(failed chan<- error) {
	<-p.exited
	if !p.stopping.Load() {
		failed <- p.failure()
	}
}

// end signals until the child is gone. The end of ctx skips the graces.
func (p *process) end(ctx context.Context, steps escalation) error {
	p.stopping.Store(true)
	for i, step := range steps {
		if err := p.cmd.Process.Signal(step.signal); errors.Is(err, os.ErrProcessDone) {
			<-p.exited
			return nil
		}
		timer := time.NewTimer(step.grace)
		select {
		case <-p.exited:
			timer.Stop()
			if i > 0 {
				return fmt.Errorf("it took %s to end it", step.signal)
			}
			return nil
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
		}
	}
	p.kill()
	return errors.New("it had to be killed")
}

// kill ends the child with those of its own that are in its process group: initdb has some.
func (p *process) kill() {
	p.stopping.Store(true)
	select {
	case <-p.exited:
	default:
		group := -p.cmd.Process.Pid
		_ = syscall.Kill(group, syscall.SIGKILL)
		<-p.exited
		for end := time.Now().Add(time.Second); time.Now().Before(end) && syscall.Kill(group, 0) == nil; {
			time.Sleep(time.Millisecond) // the others are not ours to wait for
		}
	}
}
