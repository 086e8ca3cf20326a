// Command app is the sample application of the script tests, small and static.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/stella-ops/stella/internal/sampleapp"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	code := sampleapp.Run(ctx, os.Getenv, os.Stderr)
	stop()
	os.Exit(code)
}
