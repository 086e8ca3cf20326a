package host

import (
	"errors"
	"os"
	"runtime"
	"sync"
	"syscall"
)

// spawner starts processes from one thread that has given up what they must
// not have. Namespaces, no_new_privs and the bounding set are a thread's own
// and go to what it forks; the parent-death signal is sent when the thread that
// forked ends, so this one never does.
type spawner struct{ requests chan spawnRequest }

type spawnRequest struct {
	program program
	files   [3]*os.File
	dies    bool // with its parent
	done    chan<- spawnResult
}

type spawnResult struct {
	pid int
	err error
}

// newSpawner prepares the thread with setup and starts it. It ends when
// requests is closed.
func newSpawner(setup func() error) (*spawner, error) {
	s := &spawner{requests: make(chan spawnRequest)}
	ready := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: nobody else may get this thread
		err := setup()
		if err == nil {
			err = giveUpPrivileges()
		}
		ready <- err
		if err != nil {
			return
		}
		for r := range s.requests {
			pid, err := r.program.fork(r.files, r.dies)
			r.done <- spawnResult{pid, err}
		}
	}()
	return s, <-ready
}

// start executes a program with its standard files. It has a session, and so a
// process group, of its own.
func (s *spawner) start(p program, files [3]*os.File, dies bool) (int, error) {
	done := make(chan spawnResult)
	s.requests <- spawnRequest{p, files, dies, done}
	r := <-done
	return r.pid, r.err
}

// reaper waits for all children of this process: those that were started
// through it, and orphans that it adopted, for which nobody else would.
type reaper struct {
	mu      sync.Mutex // guards waiting; held while a child is started, so that none ends unknown
	waiting map[int]chan<- syscall.WaitStatus
}

// start runs spawn and returns the child with a channel that gets its status.
func (r *reaper) start(spawn func() (int, error)) (int, <-chan syscall.WaitStatus, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	pid, err := spawn()
	if err != nil {
		return 0, nil, err
	}
	ended := make(chan syscall.WaitStatus, 1)
	r.waiting[pid] = ended
	return pid, ended, nil
}

// reap collects every child that has ended by now.
func (r *reaper) reap() {
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, syscall.WNOHANG, nil)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if err != nil || pid <= 0 {
			return
		}
		r.mu.Lock()
		if ended, ok := r.waiting[pid]; ok {
			ended <- status
			delete(r.waiting, pid)
		}
		r.mu.Unlock()
	}
}
