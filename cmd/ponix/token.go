package main

import (
	"errors"
	"fmt"
	"time"

	"ponix/bridge/token"
	"ponix/runtime/config"
	"ponix/runtime/wire"
)

type tokenCommand struct {
	config.Auth
	Subject      string        `required:"" help:"Who it is for: a name, or a device's id."`
	Role         string        `required:"" enum:"admin,member,device" help:"What they are: ${enum}."`
	Organization string        `help:"The organization that they belong to; none for an admin."`
	TTL          time.Duration `name:"ttl" default:"1h" help:"How long it is good for."`
}

func (c *tokenCommand) Run(e *env) error {
	secret, err := c.Secret()
	if err != nil {
		return err
	}
	if secret == nil {
		return &config.Error{Variable: "PONIX_AUTH_SECRET", Cause: errors.New("is missing: a token is signed with it")}
	}
	if len(secret) < token.MinSecret {
		return &config.Error{Variable: "PONIX_AUTH_SECRET", Cause: fmt.Errorf("has %d bytes, and must have %d at least", len(secret), token.MinSecret)}
	}
	if c.TTL <= 0 {
		return &usageError{errors.New("--ttl must be above 0")}
	}
	role, err := wire.ParseRole(c.Role)
	if err != nil {
		return &usageError{err}
	}
	raw, err := token.Sign(token.Config{Secret: secret, Issuer: c.Issuer, Audience: c.Audience}, wire.Principal{Subject: c.Subject, Organization: c.Organization, Role: role}, c.TTL)
	if err != nil {
		return &usageError{err}
	}
	fmt.Fprintln(e.out, raw)
	return nil
}
