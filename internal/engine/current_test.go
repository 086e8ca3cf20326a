package engine

import (
	"os"
	"path/filepath"
	"testing"
)

// TestTheEngineOfTheDockerCommand asks for it as the docker command does.
func TestTheEngineOfTheDockerCommand(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(`{"auths": {}, "currentContext": "desktop-linux"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		env  map[string]string
		want Address
	}{
		"nothing says":                 {nil, Address{Host: "unix:///var/run/docker.sock"}},
		"no file of options":           {map[string]string{"HOME": dir}, Address{Host: "unix:///var/run/docker.sock"}},
		"a context was chosen":         {map[string]string{"DOCKER_CONFIG": dir}, Address{Context: "desktop-linux"}},
		"a variable names a context":   {map[string]string{"DOCKER_CONFIG": dir, "DOCKER_CONTEXT": "web-1"}, Address{Context: "web-1"}},
		"the context that is none":     {map[string]string{"DOCKER_CONFIG": dir, "DOCKER_CONTEXT": "default"}, Address{Host: "unix:///var/run/docker.sock"}},
		"a variable names an address":  {map[string]string{"DOCKER_CONTEXT": "web-1", "DOCKER_HOST": "unix:///run/user/1000/docker.sock"}, Address{Host: "unix:///run/user/1000/docker.sock"}},
		"an address with certificates": {map[string]string{"DOCKER_HOST": "tcp://web-1:2376", "DOCKER_CERT_PATH": "/certs"}, Address{Host: "tcp://web-1:2376", TLS: "/certs"}},
	} {
		got, err := Current(func(k string) string { return c.env[k] })
		if err != nil || got != c.want {
			t.Errorf("%s: %v, %v; want %v", name, got, err, c.want)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(`{`), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := Current(func(k string) string { return map[string]string{"DOCKER_CONFIG": dir}[k] }); err == nil {
		t.Errorf("a file that is broken: %v, want an error", got)
	}
}
