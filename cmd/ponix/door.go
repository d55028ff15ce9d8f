package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"

	"ponix/bridge"
	"ponix/bridge/token"
	"ponix/runtime/config"
)

// door is who is let in to the bridge, and how.
type door struct {
	config.GRPC
	config.Auth
	GRPCMaxMessage int `name:"grpc-max-message" default:"8388608" help:"Bytes of a request or a reply at most."`
}

// config is the bridge's, but for what it talks to. Keys are followed until ctx
// is done.
func (d door) config(ctx context.Context, e *env) (bridge.Config, error) {
	c := bridge.Config{MaxMessage: d.GRPCMaxMessage, Rate: d.Rate, Burst: d.Burst, Reflection: d.Reflection, Logger: e.log}
	if !(d.Rate >= 0) || d.Burst < 0 { // nor NaN
		return c, &config.Error{Variable: "PONIX_GRPC_RATE", Cause: errors.New("and PONIX_GRPC_BURST must be numbers that are not negative")}
	}
	var err error
	if c.TLS, err = d.TLS(); err != nil {
		return c, err
	}
	on, err := d.On()
	if err != nil || !on {
		return c, err
	}
	secret, err := d.Secret()
	if err != nil {
		return c, err
	}
	c.Tokens, err = token.New(ctx, token.Config{JWKS: d.JWKS, Secret: secret, Renew: d.Secret, Issuer: d.Issuer, Audience: d.Audience, Logger: e.log})
	if errors.Is(err, token.ErrFetch) { // which is no fault of the configuration
		return c, fmt.Errorf("PONIX_AUTH_JWKS: %w", err)
	}
	if err != nil {
		variable := "PONIX_AUTH_JWKS"
		if secret != nil && len(secret) < token.MinSecret {
			variable = "PONIX_AUTH_SECRET"
		}
		return c, &config.Error{Variable: variable, Cause: err}
	}
	return c, nil
}

// open listens for a bridge of that config. It is exposed where anybody is let in,
// and not only this machine reaches it.
func (d door) open(e *env) (c bridge.Config, ln net.Listener, exposed bool, err error) {
	if c, err = d.config(e.ctx, e); err != nil {
		return c, nil, false, err
	}
	if ln, err = listen(d.Address(int(d.Port)), "--grpc-host", "--grpc-port"); err != nil {
		return c, nil, false, err
	}
	addr, ok := ln.Addr().(*net.TCPAddr)
	return c, ln, c.Tokens == nil && d.TLSClientCA == "" && (!ok || !addr.IP.IsLoopback()), nil
}

// noPasswords refuses an address with a password in it on the command line,
// which everybody on the machine can read. The environment is the place for it.
func noPasswords(args []string) error {
	for i, arg := range args {
		flag, value, _ := strings.Cut(arg, "=")
		if value == "" && i+1 < len(args) {
			value = args[i+1]
		}
		if flag != "--nats-url" && flag != "--clickhouse-native-url" && flag != "--auth-jwks" && flag != "--against" {
			continue
		}
		if strings.Contains(value, "@") {
			return fmt.Errorf("%s: whoever may list processes can read a password there; use the environment, PONIX_%s", flag,
				strings.ToUpper(strings.ReplaceAll(strings.TrimPrefix(flag, "--"), "-", "_")))
		}
	}
	return nil
}
