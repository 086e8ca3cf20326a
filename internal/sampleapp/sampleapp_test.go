package sampleapp_test

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stella-ops/stella/internal/sampleapp"
)

// start runs the application on a free port and returns its address.
func start(t *testing.T, env map[string]string) string {
	t.Helper()
	env[sampleapp.EnvPort] = "0"
	r, w := io.Pipe()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan int, 1)
	go func() {
		done <- sampleapp.Run(ctx, func(k string) string { return env[k] }, w)
		_ = w.Close()
	}()
	t.Cleanup(func() {
		cancel()
		if code := <-done; code != 0 {
			t.Errorf("exit code %d after a stop, want 0", code)
		}
	})
	line, err := bufio.NewReader(r).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	addr := regexp.MustCompile(`127\.0\.0\.1:\d+`).FindString(line)
	if addr == "" {
		t.Fatalf("no address in %q", line)
	}
	return "http://" + addr
}

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

func TestItAnswersAsItsVersion(t *testing.T) {
	greeting := filepath.Join(t.TempDir(), "greeting")
	if err := os.WriteFile(greeting, []byte("Welcome\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	url := start(t, map[string]string{sampleapp.EnvVersion: "1.2.3", sampleapp.EnvGreeting: greeting})
	for path, want := range map[string]string{
		"/": "Welcome\nThis is web 1.2.3.\n", "/healthz": "ok\n", "/version": `{"version":"1.2.3"}` + "\n",
	} {
		if code, body := get(t, url+path); code != http.StatusOK || body != want {
			t.Errorf("GET %s: %d %q, want 200 %q", path, code, body, want)
		}
	}
}

func TestAFaultShows(t *testing.T) {
	url := start(t, map[string]string{sampleapp.EnvFault: "unhealthy"})
	if code, _ := get(t, url+"/healthz"); code != http.StatusInternalServerError {
		t.Errorf("GET /healthz: %d, want 500", code)
	}
	_, port, err := net.SplitHostPort(strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	if code := sampleapp.Check(t.Context(), func(string) string { return port }, io.Discard); code != 1 {
		t.Errorf("check: exit code %d, want 1", code)
	}
	exit := map[string]string{sampleapp.EnvFault: "exit"}
	if code := sampleapp.Run(t.Context(), func(k string) string { return exit[k] }, io.Discard); code != 1 {
		t.Errorf("exit code %d, want 1", code)
	}
}
