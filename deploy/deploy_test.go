// Package deploy_test checks what is here for people to install.
package deploy_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/cli"
)

func TestTheComposeFileRunsTheDaemonWithLittle(t *testing.T) {
	o, err := cli.NewProjectOptions([]string{"compose.yaml"}, cli.WithEnv([]string{"STELLA_REPO=https://git.example.com/shop/config.git", "DOCKER_GID=998"}))
	if err != nil {
		t.Fatal(err)
	}
	p, err := o.LoadProject(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s, err := p.GetService("stella")
	if err != nil {
		t.Fatal(err)
	}
	if !s.ReadOnly || !slices.Equal(s.CapDrop, []string{"ALL"}) || s.Privileged || s.User != "" || !slices.Equal(s.GroupAdd, []string{"998"}) {
		t.Errorf("it may more than it needs: %+v", s)
	}
	for _, port := range s.Ports {
		if port.HostIP != "127.0.0.1" {
			t.Errorf("port %s is published to %q, and has no password", port.Published, port.HostIP)
		}
	}
	mounts := map[string]string{}
	for _, v := range s.Volumes {
		mounts[v.Target] = v.Source
	}
	if mounts["/var/lib/stella"] != "state" || mounts["/var/run/docker.sock"] != "/var/run/docker.sock" || len(mounts) != 2 {
		t.Errorf("mounts %v", mounts)
	}
}

func TestTheComposeFileAsksForWhatItCanNotKnow(t *testing.T) {
	for _, env := range [][]string{{"STELLA_REPO=x"}, {"DOCKER_GID=998"}} {
		o, err := cli.NewProjectOptions([]string{"compose.yaml"}, cli.WithEnv(env))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := o.LoadProject(t.Context()); err == nil {
			t.Errorf("with %v alone it loads", env)
		}
	}
}

// TestTheUnitIsOne checks the unit's shape everywhere, and has systemd look at it
// where there is one.
func TestTheUnitIsOne(t *testing.T) {
	unit, err := os.ReadFile("stella.service")
	if err != nil {
		t.Fatal(err)
	}
	sections := regexp.MustCompile(`(?m)^\[(\w+)\]$`).FindAllString(string(unit), -1)
	if !slices.Equal(sections, []string{"[Unit]", "[Service]", "[Install]"}) {
		t.Errorf("sections %v", sections)
	}
	setting := regexp.MustCompile(`^[A-Z][A-Za-z]+=`)
	for i, line := range strings.Split(string(unit), "\n") {
		if line != "" && line[0] != '#' && line[0] != '[' && !setting.MatchString(line) {
			t.Errorf("line %d is no setting: %s", i+1, line)
		}
	}
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Log("there is no systemd-analyze here: what systemd makes of the unit was not looked at")
		return
	}
	// It looks whether the program is there, too.
	here, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "stella.service")
	adapted := strings.ReplaceAll(string(unit), "/usr/local/bin/stella", here)
	if err := os.WriteFile(file, []byte(adapted), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), analyze, "verify", "--man=no", file).CombinedOutput()
	if err != nil || strings.Contains(string(out), "stella.service:") {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
}
