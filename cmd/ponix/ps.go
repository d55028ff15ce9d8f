package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"

	"ponix/runtime"
	"ponix/runtime/config"
)

type psCommand struct {
	config.NATS
	format
	Wait time.Duration `default:"300ms" help:"How long to wait for answers after the last one."`
}

// psRow is one endpoint or trigger of one instance.
type psRow struct {
	Function string        `json:"function"`
	Instance string        `json:"instance"`
	Up       time.Duration `json:"up_ns"`
	Binding  string        `json:"binding"`
	Handled  int           `json:"handled"`
	Errors   int           `json:"errors"`
	Average  time.Duration `json:"average_ns"`
	runtime.Data
	LastError string `json:"last_error,omitempty"`
}

func (c *psCommand) Run(e *env) error {
	if c.Wait <= 0 {
		return &usageError{errors.New("--wait must be above 0")}
	}
	return e.onNATS(c.NATS, "ponix ps", c.run)
}

func (c *psCommand) run(e *env, nc *nats.Conn) error {
	rows, err := collectStats(e.ctx, nc, c.Wait)
	if err != nil {
		return err
	}
	if c.Format == "json" {
		for _, r := range rows {
			if err := e.out.json(r); err != nil {
				return err
			}
		}
		return nil
	}
	if len(rows) == 0 {
		fmt.Fprintln(e.out, "no instance answers")
		return nil
	}
	var cells [][]string
	for _, r := range rows {
		pending := ""
		if r.Pending != nil {
			pending = strconv.FormatUint(*r.Pending, 10)
		}
		cells = append(cells, []string{r.Function, r.Instance, r.Up.Round(time.Second).String(), r.Binding, strconv.Itoa(r.Handled), strconv.Itoa(r.Errors),
			strconv.FormatInt(r.Retried, 10), strconv.FormatInt(r.DeadLetters, 10), pending, r.Average.Round(time.Microsecond).String()})
	}
	e.out.table([]string{"FUNCTION", "INSTANCE", "UP", "BINDING", "HANDLED", "ERRORS", "RETRIED", "DEAD", "PENDING", "AVERAGE"}, cells)
	return nil
}

// collectStats asks every instance of every function.
func collectStats(ctx context.Context, nc *nats.Conn, wait time.Duration) ([]psRow, error) {
	inbox := nc.NewInbox()
	sub, err := nc.SubscribeSync(inbox)
	if err != nil {
		return nil, err
	}
	subject, err := micro.ControlSubject(micro.StatsVerb, "", "")
	if err != nil {
		return nil, err
	}
	if err := nc.PublishRequest(subject, inbox, nil); err != nil {
		return nil, err
	}
	var rows []psRow
	for {
		m, err := nextMsg(ctx, sub, wait)
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, nats.ErrNoResponders) {
			break
		}
		if err != nil {
			return nil, err
		}
		var s micro.Stats
		if json.Unmarshal(m.Data, &s) != nil { // of somebody else
			continue
		}
		for _, ep := range s.Endpoints {
			if ep == nil {
				continue
			}
			r := psRow{Function: s.Name, Instance: s.ID, Up: time.Since(s.Started), Binding: ep.Name, Handled: ep.NumRequests, Errors: ep.NumErrors, Average: ep.AverageProcessingTime, LastError: ep.LastError}
			if strings.Contains(ep.QueueGroup, "/") { // a trigger: its stream and consumer
				r.Binding = ep.QueueGroup
			}
			json.Unmarshal(ep.Data, &r.Data) //nolint:errcheck // a service of somebody else has other data
			rows = append(rows, r)
		}
	}
	slices.SortStableFunc(rows, func(a, b psRow) int {
		return cmp.Or(cmp.Compare(a.Function, b.Function), cmp.Compare(a.Instance, b.Instance))
	})
	return rows, nil
}

func nextMsg(ctx context.Context, sub *nats.Subscription, wait time.Duration) (*nats.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	return sub.NextMsgWithContext(ctx)
}
