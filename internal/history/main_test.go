// Package history_test lets four processes fight over one environment's ledger
// while they are killed, and judges what they did. Each process is a copy of
// this test binary, a [client], over a real repository; each writes down what
// it asked for and what it heard. [histories] checks that against a model of
// the lock with porcupine, [judge] compares the final ledger and the target
// with what was acknowledged.
//
// Known ways to get this wrong are kept as variants, which must be caught. They
// live here: no code outside of tests can be told to be wrong.
package history_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"testing"
	"time"
)

// clientVariable makes a copy of this binary a client: its configuration.
const clientVariable = "STELLA_HISTORY_CLIENT"

func TestMain(m *testing.M) {
	if c := os.Getenv(clientVariable); c != "" {
		os.Exit(runClient(c))
	}
	// Runs wait more than they work, and bound themselves.
	flag.Parse()
	if err := flag.Set("test.parallel", "16"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// config is what one process of a run is told.
type config struct {
	URL     string // the repository
	Dir     string // the run's directory: the target, the faults' configurations
	Slot    int    // which of the clients this is; its state directory survives it
	Life    int    // how often it was started before
	Ops     int    // how many operations are left
	Seed    uint64
	Kills   bool
	Variant variant
}

// A short lease, so that pauses outlast it. They are not much longer than a
// push takes: that is where the races are.
const (
	lease = 80 * time.Millisecond
	delay = 20 * time.Millisecond
)

// patience bounds what a client does: a busy machine takes long.
const patience = 5 * time.Minute

// variant is what a client gets wrong on purpose; empty for the real protocol.
type variant string

const (
	correct       variant = ""
	noNonce       variant = "no nonce"
	deletesRef    variant = "release deletes the ref"
	byForce       variant = "force instead of compare-and-swap"
	noFence       variant = "compare-and-swap only, no fence"
	blindRetry    variant = "blind retry after unknown"
	noReadBack    variant = "no read-back"
	outcomeBefore variant = "outcome before effect"
	intentAfter   variant = "effect before intent"
)

func runClient(text string) int {
	var c config
	err := json.Unmarshal([]byte(text), &c)
	if err == nil {
		err = work(c)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "client:", err)
		return 1
	}
	return 0
}
