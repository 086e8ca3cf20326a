package health

import (
	"context"
	"net/http"
)

// NewFake returns a Runner that asks try instead of the world.
func NewFake(try func(context.Context, Check) (string, error)) *Runner {
	r := New(Config{})
	r.try = try
	return r
}

// Transport returns the transport of the runner's HTTP checks.
func (r *Runner) Transport() *http.Transport {
	t, _ := r.client.Transport.(*http.Transport)
	return t
}
