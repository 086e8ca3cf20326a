package history_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stella-ops/stella/internal/git/gittest"
)

// How much one run does.
const (
	clients = 4
	perLife = 12 // operations of a client, over all of its lives
)

// run is one run of the clients.
type run struct {
	variant variant
	kills   bool
	http    bool
	seed    uint64
}

func (r run) String() string {
	text := "the protocol"
	if r.variant != correct {
		text = string(r.variant)
	}
	if text += " without kills"; r.kills {
		text = strings.Replace(text, "without", "with", 1)
	}
	if r.http {
		text += " over HTTP"
	}
	return text
}

// turns bounds how many runs go on side by side: they wait more than they work.
var turns = make(chan struct{}, 8)

// verdict is what came of a run.
type verdict struct {
	wrong []string
	ops   int
	kills int // processes that were killed
	dir   string
	err   error // it could not be run
}

// forget removes what a run leaves for people to look at.
func (v verdict) forget() { _ = os.RemoveAll(v.dir) }

// do lets the clients loose and judges what they did. What they wrote down
// stays in the verdict's directory if it is wrong.
func (r run) do(t testing.TB) (v verdict) {
	t.Helper()
	turns <- struct{}{}
	defer func() { <-turns }()
	dir, err := os.MkdirTemp("", "stella-history-")
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if v.dir = dir; len(v.wrong) == 0 {
			v.forget()
		}
	}()
	bare := gittest.Bare(t)
	makeFates(t, dir)
	url := bare
	if r.http {
		url = gittest.HTTP(t, bare, r.lossy())
	}
	killed := make([]int, clients)
	errs := make([]error, clients)
	var wg sync.WaitGroup
	for slot := range clients {
		wg.Go(func() { killed[slot], errs[slot] = r.lives(t, dir, url, slot) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return verdict{err: err}
	}
	orphansEnd(t, gittest.Dir(bare))
	all := operations(t, dir)
	v = verdict{wrong: judge(t, dir, bare, all), ops: len(all)}
	for _, n := range killed {
		v.kills += n
	}
	if wrong := histories(t, dir, all); wrong != "" {
		v.wrong = append(v.wrong, wrong)
	}
	return v
}

// lossy loses requests and responses.
func (r run) lossy() *gittest.Faults {
	f := &gittest.Faults{}
	chance := rand.New(rand.NewPCG(r.seed, 99)) // used under the lock of Faults
	rarely := func(match gittest.Match, percent int) gittest.Match {
		return func(req *http.Request) bool { return r.kills && match(req) && chance.IntN(100) < percent }
	}
	f.Add(rarely(gittest.Push, 15), -1, gittest.LoseResponse())
	f.Add(rarely(gittest.Push, 5), -1, gittest.LoseRequest())
	f.Add(rarely(gittest.List, 4), -1, gittest.LoseRequest())
	return f
}

// lives starts a client again until it has done its operations. Its state
// directory stays.
func (r run) lives(t testing.TB, dir, url string, slot int) (killed int, err error) {
	left := perLife
	for life := 0; left > 0; life++ {
		c := config{URL: url, Dir: dir, Slot: slot, Life: life, Ops: left, Seed: r.seed, Kills: r.kills, Variant: r.variant}
		text, err := json.Marshal(c)
		if err != nil {
			return killed, err
		}
		cmd := exec.CommandContext(t.Context(), os.Args[0])
		cmd.Env = append(gittest.Environ(), clientVariable+"="+string(text), "GOMAXPROCS=1")
		var said bytes.Buffer
		cmd.Stderr = &said
		// Git's server may outlive a client that was killed.
		cmd.WaitDelay = 5 * time.Second
		err = cmd.Run()
		var exit *exec.ExitError
		if err == nil {
			return killed, nil
		}
		if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
			return killed, fmt.Errorf("client %d: %w: %s", slot, err, said.String())
		}
		killed++
		data, err := os.ReadFile(logFile(dir, slot, life))
		if err != nil {
			return killed, err
		}
		left -= max(1, bytes.Count(data, []byte(`"What":"call"`)))
	}
	return killed, nil
}

// orphansEnd waits for the server's side of pushes whose clients were killed.
func orphansEnd(t testing.TB, bare string) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for {
		working := gitsAt(t, bare)
		if working == "" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("still at work: %s", working)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// gitsAt is the command line of a process that works on a repository.
func gitsAt(t testing.TB, bare string) string {
	t.Helper()
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range lines {
		data, err := os.ReadFile(file)
		if err != nil {
			continue // it has just ended
		}
		if args := strings.Split(string(data), "\x00"); strings.HasSuffix(args[0], "git") && strings.Contains(string(data), bare) {
			return strings.Join(args, " ")
		}
	}
	return ""
}
