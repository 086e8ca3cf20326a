package git_test

import (
	"net/url"
	"strings"
	"testing"

	"github.com/stella-ops/stella/internal/git"
)

func TestWhereAPullRequestIsOpened(t *testing.T) {
	const (
		branch = "stella/rollback/prod/prod-7"
		github = "https://github.com/acme/config/compare/main...stella/rollback/prod/prod-7?expand=1"
		gitlab = "/-/merge_requests/new?merge_request%5Bsource_branch%5D=stella%2Frollback%2Fprod%2Fprod-7&merge_request%5Btarget_branch%5D=main"
		gitea  = "/acme/config/compare/main...stella/rollback/prod/prod-7"
		azure  = "https://dev.azure.com/acme/Big%20Project/_git/config/pullrequestcreate?sourceRef=stella%2Frollback%2Fprod%2Fprod-7&targetRef=main"
	)
	for remote, want := range map[string]string{
		"https://github.com/acme/config.git":                        github,
		"https://github.com/acme/config/":                           github,
		"https://GitHub.com:443/acme/config":                        github,
		"https://ana:hunter2@github.com/acme/config.git":            github,
		"https://ghp_hunter2@github.com/acme/config.git":            github,
		"git@github.com:acme/config.git":                            github,
		"git@github.com:/acme/config.git":                           github,
		"ssh://git@github.com/acme/config.git":                      github,
		"ssh://git@ssh.github.com:443/acme/config.git":              github,
		"https://github.com/acme":                                   "",
		"https://github.com/acme/config/extra":                      "",
		"https://github.com/acme//config":                           "",
		"https://github.com/../config":                              "",
		"https://github.com/%2e%2e/config":                          "",
		"https://github.com.evil.example/acme/config":               "",
		"https://notgithub.com/acme/config":                         "",
		"https://github.example.com/acme/config":                    "",
		"https://github.com/ac%3Fme/config":                         "https://github.com/ac%3Fme/config/compare/main...stella/rollback/prod/prod-7?expand=1",
		"https://gitlab.com/acme/infra/config.git":                  "https://gitlab.com/acme/infra/config" + gitlab,
		"git@gitlab.com:acme/config.git":                            "https://gitlab.com/acme/config" + gitlab,
		"ssh://git@altssh.gitlab.com:443/acme/config.git":           "https://gitlab.com/acme/config" + gitlab,
		"https://gitlab.example.com:8443/acme/config.git":           "https://gitlab.example.com:8443/acme/config" + gitlab,
		"ssh://git@gitlab.example.com:2222/acme/config.git":         "https://gitlab.example.com/acme/config" + gitlab,
		"https://gitlab.com/config":                                 "",
		"https://codeberg.org/acme/config.git":                      "https://codeberg.org" + gitea,
		"git@codeberg.org:acme/config.git":                          "https://codeberg.org" + gitea,
		"https://gitea.example.com:3000/acme/config":                "https://gitea.example.com:3000" + gitea,
		"forgejo@forgejo.example.com:acme/config.git":               "https://forgejo.example.com" + gitea,
		"https://gitea/acme/config":                                 "",
		"git@bitbucket.org:acme/config.git":                         "https://bitbucket.org/acme/config/pull-requests/new?dest=main&source=stella%2Frollback%2Fprod%2Fprod-7",
		"https://acme@dev.azure.com/acme/Big%20Project/_git/config": azure,
		"git@ssh.dev.azure.com:v3/acme/Big Project/config":          azure,
		"https://dev.azure.com/acme/_git/config":                    "https://dev.azure.com/acme/_git/config/pullrequestcreate?sourceRef=stella%2Frollback%2Fprod%2Fprod-7&targetRef=main",
		"https://dev.azure.com/acme/project/config":                 "",
		"https://git.example.com/acme/config":                       "",
		"http://gitlab.example.com/acme/config":                     "",
		"http://127.0.0.1:3000/acme/config":                         "",
		"github:acme/config":                                        "", // a name of somebody's ssh configuration
		"/srv/github.com/acme/config":                               "",
		"file:///srv/config.git":                                    "",
		"javascript://github.com/acme/config":                       "",
		"":                                                          "",
	} {
		got := git.CompareURL(remote, "refs/heads/main", "refs/heads/"+branch)
		if got != want {
			t.Errorf("%s:\n got %s\nwant %s", remote, got, want)
		}
		if short := git.CompareURL(remote, "main", branch); short != got {
			t.Errorf("%s: short names give %s", remote, short)
		}
		if strings.Contains(got, "hunter2") {
			t.Errorf("%s: a credential is in %s", remote, got)
		}
	}
}

func TestBranchesInCompareURLsAreEscaped(t *testing.T) {
	hostile := "a b?c#d&e=f%2Fg/\u202eh<\"'>\x1b[2J+ü"
	for _, remote := range []string{
		"git@github.com:acme/config.git", "git@gitlab.com:acme/config.git", "git@codeberg.org:acme/config.git",
		"git@bitbucket.org:acme/config.git", "git@ssh.dev.azure.com:v3/acme/project/config",
	} {
		got := git.CompareURL(remote, "main", hostile)
		for _, r := range got {
			if r <= ' ' || r >= 0x7f || strings.ContainsRune("<>\"#", r) {
				t.Errorf("%s has %q", got, r)
			}
		}
		u, err := url.Parse(got)
		if err != nil || u.Scheme != "https" {
			t.Fatalf("%s: %v", got, err)
		}
		if !strings.Contains(u.Path, hostile) && !strings.Contains(strings.Join(append(u.Query()["merge_request[source_branch]"], append(u.Query()["source"], u.Query()["sourceRef"]...)...), ""), hostile) {
			t.Errorf("%s does not name the branch", got)
		}
	}
	if git.CompareURL("git@github.com:acme/config.git", "", "x") != "" || git.CompareURL("git@github.com:acme/config.git", "main", "") != "" {
		t.Error("a URL without a branch")
	}
}
