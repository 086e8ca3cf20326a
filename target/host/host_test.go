//go:build linux

package host

import (
	"testing"

	"github.com/stella-ops/stella"
)

func TestAServiceRunsAndIsObserved(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	port := freePort(t)
	web := serviceOf("web", s.image(t, "1.0"), fields{
		"command": []any{"serve"}, "environment": fields{"PORT": portText(port)}, "ports": portField(port), "restart": "always",
	})
	s.deploy(t, web)
	if got := version(t, port); got != "1.0" {
		t.Errorf("version %q", got)
	}
	c := s.component(t, "web")
	if c.State != stella.RunRunning || c.Running != c.Desired {
		t.Errorf("component %+v", c)
	}
}
