// Package sampleapp is the web application that quickstart and the tests
// deploy: a real server in a real image, whose entry point is this binary
// itself. Start with [Run]. It knows nothing of stella.
package sampleapp

import (
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
	EnvPort     = "PORT"            // to listen on at loopback; default 8080
	EnvGreeting = "SAMPLE_GREETING" // path of a file that / answers with
)

// Run serves until ctx ends and returns the process's exit code.
func Run(ctx context.Context, getenv func(string) string, log io.Writer) int {
	if getenv(EnvFault) == "exit" {
		_, _ = fmt.Fprintln(log, "sample: exiting, as asked")
		return 1
	}
	port := getenv(EnvPort)
	if port == "" {
		port = "8080"
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", net.JoinHostPort("127.0.0.1", port))
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
