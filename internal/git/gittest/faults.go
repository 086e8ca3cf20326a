package gittest

import (
	"bytes"
	"encoding/pem"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"
)

// LoseRequest breaks the connection before the server sees the request.
func LoseRequest() Fault {
	return func(http.Handler) http.Handler {
		return http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	}
}

// LoseResponse lets the server do its work and breaks the connection instead
// of answering.
func LoseResponse() Fault {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			next.ServeHTTP(httptest.NewRecorder(), r)
			panic(http.ErrAbortHandler)
		})
	}
}

// After lets the server do its work, drops what it answers and runs a function;
// then it answers as other says, or breaks the connection for a nil other.
func After(do func(), other Fault) Fault {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			next.ServeHTTP(httptest.NewRecorder(), r)
			do()
			if other == nil {
				panic(http.ErrAbortHandler)
			}
			// The body is used up: git-http-backend would wait for it forever.
			other(http.NotFoundHandler()).ServeHTTP(w, r)
		})
	}
}

// Truncate breaks the connection after n bytes of the body.
func Truncate(n int) Fault {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			rec := record(next, w, r)
			body := rec.Body.Bytes()
			_, _ = w.Write(body[:min(n, len(body))])
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		})
	}
}

// Flip changes one byte of the body, counted from its end.
func Flip(fromEnd int) Fault {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			rec := record(next, w, r)
			body := rec.Body.Bytes()
			if i := len(body) - fromEnd; i >= 0 && i < len(body) {
				body[i] ^= 0x10
			}
			_, _ = w.Write(body)
		})
	}
}

// FlipPack changes one byte of the pack of a fetch, counted from its end: the
// last twenty are its sum.
func FlipPack(fromEnd int) Fault {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body := record(next, w, r).Body.Bytes()
			var end int // of the last packet that is a part of the pack
			for i := 0; i+4 < len(body); {
				n, err := strconv.ParseUint(string(body[i:i+4]), 16, 16)
				if err != nil || i+int(n) > len(body) {
					break
				}
				if n > 4 && body[i+4] == 1 {
					end = i + int(n)
				}
				i += max(int(n), 4) // a flush has no length
			}
			if at := end - fromEnd; at > 0 {
				body[at] ^= 0x10
			}
			_, _ = w.Write(body)
		})
	}
}

// nak ends what precedes the pack of a fetch (gitprotocol-pack(5)).
const nak = "0008NAK\n"

func record(next http.Handler, w http.ResponseWriter, r *http.Request) *httptest.ResponseRecorder {
	rec := httptest.NewRecorder()
	next.ServeHTTP(rec, r)
	maps.Copy(w.Header(), rec.Header())
	w.WriteHeader(rec.Code)
	return rec
}

// Status answers with a status and headers, given as name and value in turn.
func Status(code int, headers ...string) Fault {
	return func(http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			for i := 0; i+1 < len(headers); i += 2 {
				w.Header().Set(headers[i], headers[i+1])
			}
			w.WriteHeader(code)
		})
	}
}

// HTML answers with a page, as a captive portal does.
func HTML() Fault {
	return func(http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			_, _ = io.WriteString(w, "<html><body>Welcome, please log in\x1b[2J</body></html>")
		})
	}
}

// Redirect answers with a redirect to the same path and query below another
// address.
func Redirect(code int, base string) Fault {
	return func(http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, base+r.URL.RequestURI(), code)
		})
	}
}

// Basic wants HTTP basic authentication.
func Basic(user, password string) Fault {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if u, p, ok := r.BasicAuth(); !ok || u != user || p != password {
				w.Header().Set("WWW-Authenticate", `Basic realm="git"`)
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			next.ServeHTTP(w, r)
		})
	}
}

// Between runs a function after the request came and before the server sees it.
func Between(do func()) Fault {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			do()
			next.ServeHTTP(w, r)
		})
	}
}

// WithoutHeader hides a header of the request from the server: without
// Git-Protocol, it speaks version 0.
func WithoutHeader(name string) Fault {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			r.Header.Del(name)
			next.ServeHTTP(w, r)
		})
	}
}

// Hang takes the request and never answers.
func (f *Faults) Hang() Fault {
	return func(http.Handler) http.Handler {
		return http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			f.wait(r, 24*time.Hour)
			panic(http.ErrAbortHandler)
		})
	}
}

// Delay waits before the server sees the request: a slow network.
func (f *Faults) Delay(d time.Duration) Fault {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			f.wait(r, d)
			next.ServeHTTP(w, r)
		})
	}
}

// Trickle answers n bytes at a time with a pause between.
func (f *Faults) Trickle(n int, pause time.Duration) Fault {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body := record(next, w, r).Body
			for body.Len() > 0 {
				if _, err := w.Write(body.Next(n)); err != nil {
					return
				}
				_ = http.NewResponseController(w).Flush()
				f.wait(r, pause)
				if r.Context().Err() != nil {
					return
				}
			}
		})
	}
}

func writeCA(t testing.TB, srv *httptest.Server) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "ca.pem")
	cert := srv.Certificate()
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})
	if err := os.WriteFile(file, block, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// Chatter puts progress before the pack of a fetch: a text, again and again, up
// to n bytes.
func Chatter(text string, n int) Fault {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			before, after, _ := bytes.Cut(record(next, w, r).Body.Bytes(), []byte(nak))
			_, _ = w.Write(append(before, nak...))
			for ; n > 0; n -= len(text) {
				_, _ = fmt.Fprintf(w, "%04x\x02%s", len(text)+5, text)
			}
			_, _ = w.Write(after)
		})
	}
}
