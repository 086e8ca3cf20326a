package artifact_test

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/artifact"
)

// TestRetries is R03: how often, how long, and what is left alone.
func TestRetries(t *testing.T) {
	for name, c := range map[string]struct {
		statuses    []int // of the manifest, one answer each; then it is served
		retryAfter  string
		want        error
		requests    int
		least, most time.Duration
	}{
		"a burst of each of them": {[]int{500, 502, 503}, "", nil, 4, 800 * time.Millisecond, 3 * time.Second},
		"one too many":            {[]int{500, 502, 503, 504, 500}, "", stella.ErrUnreachable, 4, 800 * time.Millisecond, 3 * time.Second},
		"seconds are honoured":    {[]int{429}, "7", nil, 2, 7 * time.Second, 7 * time.Second},
		"a date is honoured":      {[]int{429}, "Sat, 01 Jan 2000 00:00:09 GMT", nil, 2, 9 * time.Second, 9 * time.Second},
		"a date that is over":     {[]int{503}, "Sat, 01 Jan 1994 00:00:00 GMT", nil, 2, time.Second, time.Second},
		"an hour is capped":       {[]int{429}, "3600", nil, 2, 30 * time.Second, 30 * time.Second},
		"more than time holds":    {[]int{429}, "9223372036854775807", nil, 2, 30 * time.Second, 30 * time.Second},
		"nonsense is left alone":  {[]int{429}, "soon", nil, 2, 100 * time.Millisecond, time.Second},
		"a negative wait":         {[]int{429}, "-5", nil, 2, 100 * time.Millisecond, time.Second},
		"not there":               {[]int{404, 404}, "", stella.ErrNotFound, 1, 0, 0},
		"forbidden":               {[]int{403, 403}, "1", stella.ErrDenied, 1, 0, 0},
		"a bad request":           {[]int{400, 400}, "", stella.ErrInvalid, 1, 0, 0},
		"not implemented":         {[]int{501, 501}, "", stella.ErrUnreachable, 1, 0, 0},
		"no redirect target":      {[]int{304, 304}, "", stella.ErrInvalid, 1, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLab(t)
				a := l.push(memoryHost, "1", sample(t))
				n := 0
				l.breaks(func(w http.ResponseWriter, r *http.Request) bool {
					if !strings.Contains(r.URL.Path, "/manifests/") || n >= len(c.statuses) {
						return false
					}
					if c.retryAfter != "" {
						w.Header().Set("Retry-After", c.retryAfter)
					}
					w.WriteHeader(c.statuses[n])
					n++
					return true
				})
				began := time.Now()
				_, err := l.client(artifact.Config{}).Resolve(t.Context(), a)
				took := time.Since(began)
				wantClass(t, err, c.want)
				if got := l.requests("/manifests/"); got != c.requests || took < c.least || took > c.most {
					t.Errorf("%d requests in %s, want %d in %s to %s", got, took, c.requests, c.least, c.most)
				}
			})
		})
	}
}

func TestRetriesOfWhatComesBeforeTheRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		a := l.push(memoryHost, "1", sample(t))
		n := 0
		l.breaks(func(w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path != "/v2/" || n == 2 {
				return false
			}
			n++
			w.Header().Set("Retry-After", "3")
			w.WriteHeader(http.StatusServiceUnavailable)
			return true
		})
		began := time.Now()
		if _, err := l.client(artifact.Config{}).Resolve(t.Context(), a); err != nil || time.Since(began) != 6*time.Second {
			t.Errorf("%v after %s", err, time.Since(began))
		}
	})
}

func serveRange(w http.ResponseWriter, r *http.Request, body []byte) (rest []byte) {
	from := 0
	if s, found := strings.CutPrefix(r.Header.Get("Range"), "bytes="); found {
		from, _ = strconv.Atoi(strings.TrimSuffix(s, "-"))
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, len(body)-1, len(body)))
		w.Header().Set("Content-Length", strconv.Itoa(len(body)-from))
		w.WriteHeader(http.StatusPartialContent)
	} else {
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	}
	return body[from:]
}

// TestTransfersThatBreak is R04, and R05 as far as the transfer is at fault.
func TestTransfersThatBreak(t *testing.T) {
	payload := strings.Repeat("0123456789abcdef", 1<<17) // 2 MiB
	for name, c := range map[string]struct {
		serve func(tries int, w http.ResponseWriter, r *http.Request, body []byte)
		want  error // nil: it comes over
		tries int
		most  time.Duration
	}{
		"a cut at half, then the rest is asked for": {func(tries int, w http.ResponseWriter, r *http.Request, body []byte) {
			rest := serveRange(w, r, body)
			if tries == 1 {
				_, _ = w.Write(rest[:len(body)/2])
				panic(http.ErrAbortHandler)
			}
			if len(rest) != len(body)-len(body)/2 {
				panic("not asked for the rest")
			}
			_, _ = w.Write(rest)
		}, nil, 2, time.Second},
		"a cut at half, without ranges": {func(tries int, w http.ResponseWriter, _ *http.Request, body []byte) {
			w.Header().Set("Content-Length", strconv.Itoa(len(body)))
			if tries == 1 {
				_, _ = w.Write(body[:len(body)/2])
				panic(http.ErrAbortHandler)
			}
			_, _ = w.Write(body)
		}, nil, 2, time.Second},
		"a cut at half, and ranges are refused": {func(tries int, w http.ResponseWriter, r *http.Request, body []byte) {
			if r.Header.Get("Range") != "" {
				w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
				return
			}
			if tries == 1 {
				_, _ = w.Write(body[:len(body)/2])
				panic(http.ErrAbortHandler)
			}
			_, _ = w.Write(body)
		}, nil, 3, 2 * time.Second},
		"a cut at half, and the wrong range comes": {func(tries int, w http.ResponseWriter, r *http.Request, body []byte) {
			if r.Header.Get("Range") != "" {
				w.Header().Set("Content-Range", fmt.Sprintf("bytes 0-%d/%d", len(body)-1, len(body)))
				w.WriteHeader(http.StatusPartialContent)
			}
			if tries == 1 {
				_, _ = w.Write(body[:len(body)/2])
				panic(http.ErrAbortHandler)
			}
			_, _ = w.Write(body)
		}, nil, 3, 2 * time.Second},
		"every connection is cut": {func(_ int, w http.ResponseWriter, r *http.Request, body []byte) {
			_, _ = w.Write(serveRange(w, r, body)[:100])
			panic(http.ErrAbortHandler)
		}, stella.ErrUnreachable, 4, 5 * time.Second},
		"every connection is cut after a megabyte": {func(_ int, w http.ResponseWriter, r *http.Request, body []byte) {
			rest := serveRange(w, r, body)
			_, _ = w.Write(rest[:min(len(rest), 1<<20)])
			if len(rest) > 1<<20 {
				panic(http.ErrAbortHandler)
			}
		}, nil, 3, time.Second},
		"nothing comes": {func(_ int, w http.ResponseWriter, r *http.Request, _ []byte) {
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		}, stella.ErrUnreachable, 4, 2*time.Minute + 10*time.Second},
		"it hangs half way, then goes on": {func(tries int, w http.ResponseWriter, r *http.Request, body []byte) {
			rest := serveRange(w, r, body)
			if tries > 1 {
				_, _ = w.Write(rest)
				return
			}
			_, _ = w.Write(rest[:len(rest)/2])
			<-r.Context().Done()
		}, nil, 2, 40 * time.Second},
		"a hundred bytes a second": {func(_ int, w http.ResponseWriter, r *http.Request, body []byte) {
			for rest := serveRange(w, r, body); len(rest) > 0; rest = rest[10:] {
				select {
				case <-r.Context().Done():
					return
				case <-time.After(100 * time.Millisecond):
				}
				if _, err := w.Write(rest[:10]); err != nil {
					return
				}
			}
		}, stella.ErrUnreachable, 4, 4 * time.Minute},
		"four kilobytes a second are slow, and enough": {func(_ int, w http.ResponseWriter, r *http.Request, body []byte) {
			for rest := serveRange(w, r, body); len(rest) > 0; rest = rest[min(len(rest), 4096):] {
				select {
				case <-r.Context().Done():
					return
				case <-time.After(time.Second):
				}
				if _, err := w.Write(rest[:min(len(rest), 4096)]); err != nil {
					return
				}
			}
		}, nil, 1, 20 * time.Minute},
		"one byte is wrong": {func(_ int, w http.ResponseWriter, r *http.Request, body []byte) {
			_, _ = w.Write(append([]byte{body[0] ^ 1}, body[1:]...))
		}, stella.ErrTampered, 1, 0},
		"one byte is wrong before a cut": {func(tries int, w http.ResponseWriter, r *http.Request, body []byte) {
			rest := serveRange(w, r, body)
			if tries == 1 {
				_, _ = w.Write(append([]byte{body[0] ^ 1}, body[1:100]...))
				panic(http.ErrAbortHandler)
			}
			_, _ = w.Write(rest)
		}, nil, 3, 3 * time.Second},
		"it is always wrong, and cut too": {func(tries int, w http.ResponseWriter, r *http.Request, body []byte) {
			rest := append([]byte{}, serveRange(w, r, body)...)
			rest[len(rest)-1] ^= 1
			if tries == 1 {
				_, _ = w.Write(rest[:100])
				panic(http.ErrAbortHandler)
			}
			_, _ = w.Write(rest)
		}, stella.ErrTampered, 3, 3 * time.Second},
		"one byte too many, unannounced": {func(_ int, w http.ResponseWriter, _ *http.Request, body []byte) {
			_, _ = w.Write(append(slices.Clip(body), 0))
		}, stella.ErrTampered, 1, 0},
		"an endless body": {func(_ int, w http.ResponseWriter, _ *http.Request, body []byte) {
			for {
				if _, err := w.Write(body); err != nil {
					return
				}
			}
		}, stella.ErrTampered, 1, 0},
		"another length is announced": {func(_ int, w http.ResponseWriter, _ *http.Request, body []byte) {
			w.Header().Set("Content-Length", strconv.Itoa(len(body)-1))
			_, _ = w.Write(body[:len(body)-1])
		}, stella.ErrTampered, 1, 0},
		"one byte is missing, unannounced": {func(_ int, w http.ResponseWriter, r *http.Request, body []byte) {
			if r.Header.Get("Range") == "" {
				_, _ = w.Write(body[:len(body)-1])
			} else {
				w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
			}
		}, stella.ErrTampered, 5, 10 * time.Second}, // the first one brought a megabyte: it does not count
		"the registry fails in between": {func(tries int, w http.ResponseWriter, r *http.Request, body []byte) {
			if tries < 3 {
				w.WriteHeader(http.StatusBadGateway)
				return
			}
			_, _ = w.Write(serveRange(w, r, body))
		}, nil, 3, 3 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLab(t)
				layer := layerOf(t, types.OCIUncompressedLayer, archiveOf(t, tarEntry{name: "big", body: payload}))
				a := l.push(memoryHost, "1", imageOf(t, layer))
				digest, err := layer.Digest()
				if err != nil {
					t.Fatal(err)
				}
				rc, err := layer.Compressed()
				if err != nil {
					t.Fatal(err)
				}
				body, err := io.ReadAll(rc)
				if err != nil {
					t.Fatal(err)
				}
				tries := 0
				var one sync.Mutex
				l.breaks(func(w http.ResponseWriter, r *http.Request) bool {
					if !strings.HasSuffix(r.URL.Path, digest.String()) {
						return false
					}
					one.Lock()
					tries++
					n := tries
					one.Unlock()
					c.serve(n, w, r, body)
					return true
				})
				began := time.Now()
				_, err = pull(t, l.client(artifact.Config{}), a)
				took := time.Since(began)
				wantClass(t, err, c.want)
				one.Lock()
				defer one.Unlock()
				if tries != c.tries || took > c.most {
					t.Errorf("%d tries in %s, want %d in at most %s; %v", tries, took, c.tries, c.most, err)
				}
			})
		})
	}
}

// TestAManifestThatHangs: a small answer is not given the time of a whole pull.
func TestAManifestThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		a := l.push(memoryHost, "1", sample(t))
		tries := 0
		l.breaks(func(w http.ResponseWriter, r *http.Request) bool {
			if !strings.Contains(r.URL.Path, "/manifests/") || tries == 2 {
				return false
			}
			tries++
			_, _ = io.WriteString(w, "{")
			<-r.Context().Done()
			return true
		})
		began := time.Now()
		_, err := pull(t, l.client(artifact.Config{}), a)
		if took := time.Since(began); err != nil || took < time.Minute || took > 65*time.Second {
			t.Errorf("%v after %s", err, took)
		}
	})
}

func TestAnEndlessManifestIsCut(t *testing.T) {
	l := newLab(t)
	a := l.push(memoryHost, "1", sample(t))
	l.breaks(func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.Contains(r.URL.Path, "/manifests/") {
			return false
		}
		w.Header().Set("Content-Type", string(types.OCIManifestSchema1))
		for {
			if _, err := w.Write(make([]byte, 64<<10)); err != nil {
				return true
			}
		}
	})
	var err error
	if got := allocated(func() { _, err = l.client(artifact.Config{}).Resolve(t.Context(), a) }); got > 64<<20 {
		t.Errorf("%d bytes of memory", got)
	}
	wantClass(t, err, stella.ErrInvalid)
}

func TestAManifestOfAnotherDigestIsRefused(t *testing.T) {
	l := newLab(t)
	a := l.push(memoryHost, "1", sample(t))
	b := l.push(memoryHost, "2", sample(t, nil))
	l.breaks(func(_ http.ResponseWriter, r *http.Request) bool {
		r.URL.Path = strings.Replace(r.URL.Path, string(a.Digest), string(b.Digest), 1)
		return false
	})
	_, err := l.client(artifact.Config{}).Resolve(t.Context(), a)
	wantClass(t, err, stella.ErrTampered)
}

func TestStatusTextOfTheRegistryIsCleaned(t *testing.T) {
	l := newLab(t)
	a := l.push(memoryHost, "1", sample(t))
	l.breaks(func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.Contains(r.URL.Path, "/manifests/") {
			return false
		}
		w.WriteHeader(http.StatusBadRequest)
		_, _ = io.WriteString(w, `{"errors":[{"code":"X\u001b[31m","message":"`+strings.Repeat("long ", 10000)+`\n\u202e"}]}`)
		return true
	})
	_, err := l.client(artifact.Config{}).Resolve(t.Context(), a)
	wantClass(t, err, stella.ErrInvalid)
	if len(err.Error()) > 600 || !strings.Contains(err.Error(), `X\u001B[31m long`) {
		t.Errorf("%d bytes: %v", len(err.Error()), err)
	}
}
