package artifact_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/artifact"
)

const secret = "hunter2-canary"

// dockerConfig writes a config.json and returns its directory.
func dockerConfig(t testing.TB, config map[string]any) string {
	t.Helper()
	dir := t.TempDir()
	data, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(dir, "config.json"), data)
	return dir
}

func login(t testing.TB, host string) string {
	return dockerConfig(t, map[string]any{"auths": map[string]any{host: map[string]any{"auth": base64.StdEncoding.EncodeToString([]byte("anna:" + secret))}}})
}

// basicAuth lets anna in.
func (l *lab) basicAuth() {
	l.breaks(func(w http.ResponseWriter, r *http.Request) bool {
		user, password, _ := r.BasicAuth()
		if user == "anna" && password == secret {
			return false
		}
		w.Header().Set("WWW-Authenticate", `Basic realm="lab"`)
		w.WriteHeader(http.StatusUnauthorized)
		return true
	})
}

// tokens is a token server (distribution specification, "token authentication")
// in front of the lab.
type tokens struct {
	realm string
	uses  int // how many requests one token is good for; 0: any number

	mu     sync.Mutex
	issued int
	left   map[string]int
	asked  []url.Values
}

func (k *tokens) guard(w http.ResponseWriter, r *http.Request) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if r.URL.Path == "/token" {
		k.issue(w, r)
		return true
	}
	token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	if n, ok := k.left[token]; ok && (k.uses == 0 || n > 0) {
		k.left[token]--
		return false
	}
	w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm=%q,service="lab"`, k.realm))
	w.WriteHeader(http.StatusUnauthorized)
	return true
}

func (k *tokens) issue(w http.ResponseWriter, r *http.Request) {
	user, password, _ := r.BasicAuth()
	if user != "anna" || password != secret {
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = w.Write([]byte(`{"errors":[{"code":"UNAUTHORIZED","message":"not you"}]}`))
		return
	}
	k.asked = append(k.asked, r.URL.Query())
	k.issued++
	token := fmt.Sprintf("token-%s-%d", secret, k.issued)
	if k.left == nil {
		k.left = map[string]int{}
	}
	k.left[token] = k.uses
	_ = json.NewEncoder(w).Encode(map[string]any{"token": token})
}

// noSecret fails if an error shows the password, or a token.
func noSecret(t testing.TB, err error) {
	t.Helper()
	if err == nil {
		return
	}
	for _, s := range []string{secret, base64.StdEncoding.EncodeToString([]byte("anna:" + secret))} {
		if strings.Contains(fmt.Sprintf("%v %+v %#v", err, err, err), s) || strings.Contains(stella.Hint(err), s) {
			t.Errorf("the secret is in %v", err)
		}
	}
}

func TestBasicAuthentication(t *testing.T) {
	l := newLab(t)
	a := l.push(memoryHost, "1", sample(t))
	l.basicAuth()
	for name, c := range map[string]struct {
		config map[string]any
		want   error
	}{
		"the right password":      {map[string]any{"auths": map[string]any{memoryHost: map[string]any{"username": "anna", "password": secret}}}, nil},
		"auth in one":             {map[string]any{"auths": map[string]any{memoryHost: map[string]any{"auth": base64.StdEncoding.EncodeToString([]byte("anna:" + secret))}}}, nil},
		"an old style of key":     {map[string]any{"auths": map[string]any{"https://" + memoryHost + "/v1/": map[string]any{"username": "anna", "password": secret}}}, nil},
		"for the repository only": {map[string]any{"auths": map[string]any{memoryHost + "/shop/api": map[string]any{"username": "anna", "password": secret}}}, nil},
		"the wrong password":      {map[string]any{"auths": map[string]any{memoryHost: map[string]any{"username": "anna", "password": secret + "x"}}}, stella.ErrDenied},
		"of another registry":     {map[string]any{"auths": map[string]any{"other.test": map[string]any{"username": "anna", "password": secret}}}, stella.ErrDenied},
		"none":                    {map[string]any{}, stella.ErrDenied},
		"a damaged one":           {map[string]any{"auths": map[string]any{memoryHost: map[string]any{"auth": "!" + secret}}}, stella.ErrDenied},
		"a helper that is absent": {map[string]any{"credHelpers": map[string]any{memoryHost: "stella-none"}}, stella.ErrDenied},
	} {
		t.Run(name, func(t *testing.T) {
			dir := dockerConfig(t, c.config)
			for how, config := range map[string]artifact.Config{
				"the directory":  {DockerConfig: dir},
				"$DOCKER_CONFIG": {Getenv: func(k string) string { return map[string]string{"DOCKER_CONFIG": dir}[k] }},
			} {
				_, err := pull(t, l.client(config), a)
				wantClass(t, err, c.want)
				noSecret(t, err)
				if err != nil && stella.Hint(err) == "" {
					t.Errorf("%s: %v has no hint", how, err)
				}
			}
		})
	}
}

func TestRefusedCredentialsAreNotTriedForEver(t *testing.T) {
	l := newLab(t)
	a := l.push(memoryHost, "1", sample(t))
	l.breaks(func(w http.ResponseWriter, _ *http.Request) bool {
		w.Header().Set("WWW-Authenticate", `Basic realm="lab"`)
		w.WriteHeader(http.StatusUnauthorized)
		return true
	})
	_, err := l.client(artifact.Config{DockerConfig: login(t, memoryHost)}).Resolve(t.Context(), a)
	wantClass(t, err, stella.ErrDenied)
	if n := l.requests("/manifests/"); n != 1 {
		t.Errorf("%d requests with the same password", n)
	}
}

func TestPeopleLogInWhileAServiceRuns(t *testing.T) {
	l := newLab(t)
	a := l.push(memoryHost, "1", sample(t))
	l.basicAuth()
	dir := t.TempDir()
	c := l.client(artifact.Config{DockerConfig: dir})
	_, err := c.Resolve(t.Context(), a)
	wantClass(t, err, stella.ErrDenied)
	writeFile(t, filepath.Join(dir, "config.json"), readFile(t, filepath.Join(login(t, memoryHost), "config.json")))
	if _, err := c.Resolve(t.Context(), a); err != nil {
		t.Error(err)
	}
}

func TestCredentialHelper(t *testing.T) {
	l := newLab(t)
	a := l.push(memoryHost, "1", sample(t))
	l.basicAuth()
	bin := t.TempDir()
	script := "#!/bin/sh\nread server\n[ \"$1 $server\" = \"get " + memoryHost + "\" ] && echo '{\"Username\":\"anna\",\"Secret\":\"" + secret + "\"}'\n"
	if err := os.WriteFile(filepath.Join(bin, "docker-credential-stellatest"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	for _, config := range []map[string]any{
		{"credsStore": "stellatest"},
		{"credHelpers": map[string]any{memoryHost: "stellatest"}},
	} {
		if _, err := pull(t, l.client(artifact.Config{DockerConfig: dockerConfig(t, config)}), a); err != nil {
			t.Errorf("%v: %v", config, err)
		}
	}
}

// TestTokens is R02: a token that ends in the middle of a pull.
func TestTokens(t *testing.T) {
	for name, uses := range map[string]int{"a lasting token": 0, "a token for two requests": 2, "a token for three requests": 3} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			a := l.push(memoryHost, "1", sample(t))
			k := &tokens{realm: "https://" + memoryHost + "/token", uses: uses}
			l.breaks(k.guard)
			img, err := pull(t, l.client(artifact.Config{DockerConfig: login(t, memoryHost)}), a)
			if err != nil {
				t.Fatal(err)
			}
			files(t, img)
			if uses == 0 && k.issued != 1 {
				t.Errorf("%d tokens for one pull", k.issued)
			}
			if got := k.asked[0]; got.Get("scope") != "repository:shop/api:pull" || got.Get("service") != "lab" {
				t.Errorf("asked for %v", got)
			}
		})
	}
}

func TestTokensThatNeverDo(t *testing.T) {
	for name, c := range map[string]struct {
		answer func(w http.ResponseWriter)
		want   error
	}{
		"refused":             {func(w http.ResponseWriter) { w.WriteHeader(http.StatusForbidden) }, stella.ErrDenied},
		"unauthorized":        {func(w http.ResponseWriter) { w.WriteHeader(http.StatusUnauthorized) }, stella.ErrDenied},
		"no token in it":      {func(w http.ResponseWriter) { _, _ = w.Write([]byte(`{"refresh_token":"` + secret + `"}`)) }, stella.ErrInvalid},
		"no JSON":             {func(w http.ResponseWriter) { _, _ = w.Write([]byte(secret)) }, stella.ErrInvalid},
		"a token of no use":   {func(w http.ResponseWriter) { _, _ = w.Write([]byte(`{"token":"` + secret + `"}`)) }, stella.ErrDenied},
		"a token of 2 MB":     {func(w http.ResponseWriter) { _, _ = w.Write([]byte(`{"token":"` + strings.Repeat("x", 2<<20))) }, stella.ErrInvalid},
		"a header in a token": {func(w http.ResponseWriter) { _, _ = w.Write([]byte(`{"token":"x\r\nEvil: ` + secret + `"}`)) }, stella.ErrDenied},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			a := l.push(memoryHost, "1", sample(t))
			k := &tokens{realm: "https://" + memoryHost + "/token"}
			l.breaks(func(w http.ResponseWriter, r *http.Request) bool {
				if r.URL.Path != "/token" {
					return k.guard(w, r)
				}
				c.answer(w)
				return true
			})
			_, err := pull(t, l.client(artifact.Config{DockerConfig: login(t, memoryHost)}), a)
			wantClass(t, err, c.want)
			noSecret(t, err)
			if n := l.requests("/manifests/"); n > 2 {
				t.Errorf("%d requests: want one, and one with a new token", n)
			}
		})
	}
}

func TestIdentityTokens(t *testing.T) {
	l := newLab(t)
	a := l.push(memoryHost, "1", sample(t))
	k := &tokens{realm: "https://" + memoryHost + "/token", left: map[string]int{"given": 0}}
	l.breaks(func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != "/token" {
			return k.guard(w, r)
		}
		if r.Method != http.MethodPost || r.FormValue("refresh_token") != secret {
			w.WriteHeader(http.StatusUnauthorized)
			return true
		}
		_, _ = w.Write([]byte(`{"access_token":"given"}`))
		return true
	})
	dir := dockerConfig(t, map[string]any{"auths": map[string]any{memoryHost: map[string]any{"identitytoken": secret}}})
	if _, err := l.client(artifact.Config{DockerConfig: dir}).Resolve(t.Context(), a); err != nil {
		t.Error(err)
	}
}
