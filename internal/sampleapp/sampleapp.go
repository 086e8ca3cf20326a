// Package sampleapp is the web application that quickstart and the tests
// deploy: a real server in a real image, whose entry point is this binary
// itself. Start with [Run]. It knows nothing of stella.
package sampleapp

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"
)

// The environment that Run reads. An image sets the first two, a Compose file
// the others.
const (
	EnvVersion  = "SAMPLE_VERSION"  // what /version tells
	EnvFault    = "SAMPLE_FAULT"    // "" for none, "unhealthy": /healthz answers 500, "exit": ends at once
	EnvPort     = "PORT"            // to listen on; default 8080
	EnvAddress  = "SAMPLE_ADDRESS"  // to listen at; default 127.0.0.1, and in a container whose port is published 0.0.0.0
	EnvGreeting = "SAMPLE_GREETING" // path of a file that / answers with
)

// Run serves until ctx ends and returns the process's exit code.
func Run(ctx context.Context, getenv func(string) string, log io.Writer) int {
	if getenv(EnvFault) == "exit" {
		_, _ = fmt.Fprintln(log, "sample: exiting, as asked")
		return 1
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", net.JoinHostPort(cmp.Or(getenv(EnvAddress), "127.0.0.1"), cmp.Or(getenv(EnvPort), "8080")))
	if err != nil {
		_, _ = fmt.Fprintln(log, "sample:", err)
		return 1
	}
	server := &http.Server{Handler: routes(getenv), ReadHeaderTimeout: 5 * time.Second}
	go func() {
		<-ctx.Done()
		stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
		defer cancel()
		_ = server.Shutdown(stop) // the process ends next
	}()
	_, _ = fmt.Fprintf(log, "sample: version %s listens on %s\n", getenv(EnvVersion), l.Addr())
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		_, _ = fmt.Fprintln(log, "sample:", err)
		return 1
	}
	return 0
}

// Check asks the application of the same environment, which listens beside it,
// how it is, as a container's health check does. It returns the exit code: 0 for
// well, else 1.
func Check(ctx context.Context, getenv func(string) string, log io.Writer) int {
	const patience = 5 * time.Second
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	address := net.JoinHostPort("127.0.0.1", cmp.Or(getenv(EnvPort), "8080"))
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/healthz", http.NoBody)
	if err != nil {
		_, _ = fmt.Fprintln(log, "sample:", err)
		return 1
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		_, _ = fmt.Fprintln(log, "sample:", err)
		return 1
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		_, _ = fmt.Fprintln(log, "sample: answered", resp.StatusCode)
		return 1
	}
	return 0
}

func routes(getenv func(string) string) http.Handler {
	version := getenv(EnvVersion)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		greeting, err := os.ReadFile(getenv(EnvGreeting)) //nolint:gosec // the path is the operator's
		if err != nil {
			greeting = []byte("Hello\n")
		}
		_, _ = fmt.Fprintf(w, "%sThis is web %s.\n", greeting, version)
	})
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		if getenv(EnvFault) == "unhealthy" {
			http.Error(w, "web "+version+" can not reach its database", http.StatusInternalServerError)
			return
		}
		_, _ = fmt.Fprintln(w, "ok")
	})
	mux.HandleFunc("GET /version", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]string{"version": version}) // the client is gone: nothing to do
	})
	return mux
}
