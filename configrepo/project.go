package configrepo

import (
	"regexp"
	"strconv"
	"strings"

	stella "github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/strictyaml"
)

// The defaults of a Project.
const (
	defaultMinVersions = 5
	defaultLedgerRef   = "refs/stella/ledger"
)

type (
	commitFields   struct{ trailers []string }
	registryFields struct {
		backup    string
		plainHTTP []string
	}
	retentionFields struct{ minVersions int }
	ledgerFields    struct{ ref, repo string }
)

// projectFile is stella.yaml as it is nested there.
type projectFile struct {
	project   Project
	commit    commitFields
	registry  registryFields
	retention retentionFields
	ledger    ledgerFields
}

func projectShape() strictyaml.Shape[Project] {
	fields := append(header[projectFile](KindProject),
		strictyaml.Required("name", "What the project is called.", nameShape(),
			func(f *projectFile) *string { return &f.project.Name }),
		strictyaml.Optional("branch", "The branch that is reconciled. Default: the remote's HEAD.", branchShape(),
			func(f *projectFile) *string { return &f.project.Branch }),
		strictyaml.Optional("root", "The directory of envs/ and baselines/ in a monorepo. Default: the top.",
			dirShape("want a directory such as deploy/shop, without slashes at the ends"),
			func(f *projectFile) *string { return &f.project.Root }),
		strictyaml.Optional("requires", "The versions of stella that may write, such as >=0.1. Default: any.", requiresShape(),
			func(f *projectFile) *string { return &f.project.Requires }),
		strictyaml.Optional("commit", "The commits that stella makes.", commitShape(),
			func(f *projectFile) *commitFields { return &f.commit }),
		strictyaml.Optional("registry", "Where images are.", registryShape(),
			func(f *projectFile) *registryFields { return &f.registry }),
		strictyaml.Optional("retention", "How long images are kept.", retentionShape(),
			func(f *projectFile) *retentionFields { return &f.retention }),
		strictyaml.Optional("ledger", "Where deployments are recorded.", ledgerShape(),
			func(f *projectFile) *ledgerFields { return &f.ledger }),
	)
	defaults := projectFile{
		retention: retentionFields{minVersions: defaultMinVersions},
		ledger:    ledgerFields{ref: defaultLedgerRef},
	}
	return strictyaml.Convert(strictyaml.Object(defaults, fields...).Check(checkLedgerRef),
		func(_ strictyaml.Value, f projectFile) (Project, bool) { return f.flat(), true })
}

func (f projectFile) flat() Project {
	p := f.project
	p.CommitTrailers = f.commit.trailers
	p.Backup, p.PlainHTTP = f.registry.backup, f.registry.plainHTTP
	p.MinVersions = f.retention.minVersions
	p.LedgerRef, p.LedgerRepo = f.ledger.ref, f.ledger.repo
	return p
}

// checkLedgerRef keeps the ledger from being written over the branch.
func checkLedgerRef(v strictyaml.Value, f *projectFile) {
	branch := "refs/heads/" + f.project.Branch
	if f.project.Branch == "" || f.ledger.repo != "" {
		return
	}
	if f.ledger.ref == branch || strings.HasPrefix(branch, f.ledger.ref+"/") || strings.HasPrefix(f.ledger.ref, branch+"/") {
		v.At("ledger").At("ref").Problem("collides with the branch", "choose another ref, such as "+defaultLedgerRef)
	}
}

func commitShape() strictyaml.Shape[commitFields] {
	trailer := strictyaml.Line(200).Check(func(v strictyaml.Value, s *string) {
		if strings.TrimSpace(*s) == "" {
			v.Problem("is blank", "write a line or remove it")
		}
	})
	return strictyaml.Object(commitFields{},
		strictyaml.Optional("trailers", "Lines added to the messages, such as [skip ci].", strictyaml.List(trailer, 0, 20),
			func(f *commitFields) *[]string { return &f.trailers }))
}

func registryShape() strictyaml.Shape[registryFields] {
	hosts := strictyaml.List(registryHostShape(), 0, 100).Check(func(v strictyaml.Value, hosts *[]string) {
		twice(v, *hosts, itself)
	})
	return strictyaml.Object(registryFields{},
		strictyaml.Optional("backup", "Where lost images are looked for: a registry with a prefix, or oci:/path for an OCI layout.", backupShape(),
			func(f *registryFields) *string { return &f.backup }),
		strictyaml.Optional("plainHTTP", "Registries spoken to without TLS.", hosts,
			func(f *registryFields) *[]string { return &f.plainHTTP }))
}

func retentionShape() strictyaml.Shape[retentionFields] {
	return strictyaml.Object(retentionFields{minVersions: defaultMinVersions},
		strictyaml.Optional("minVersions", "Newest distinct versions of each component kept restorable, per environment. Default: 5.",
			strictyaml.Whole(leastMinVersions, mostMinVersions), func(f *retentionFields) *int { return &f.minVersions }))
}

func ledgerShape() strictyaml.Shape[ledgerFields] {
	return strictyaml.Object(ledgerFields{ref: defaultLedgerRef},
		strictyaml.Optional("ref", "The prefix of the ledger's refs, one for each environment under it. Default: refs/stella/ledger.", ledgerRefShape(),
			func(f *ledgerFields) *string { return &f.ref }),
		strictyaml.Optional("repo", "A separate repository for the ledger. Default: this one.", repoShape(),
			func(f *ledgerFields) *string { return &f.repo }))
}

// refRE is the part of git-check-ref-format that RE2 and ECMA 262 can say
// alike; badRef has the rest.
var refRE = regexp.MustCompile(`^([A-Za-z0-9_+=#%,!(){}'&;<>|"$@][^\x00-\x20\x7f~^:?*\[\\]*)?$`)

func badRef(s string) bool {
	return strings.Contains(s, "..") || strings.Contains(s, "@{") || strings.Contains(s, "//") ||
		strings.Contains(s, "/.") || strings.HasSuffix(s, "/") || strings.HasSuffix(s, ".") || s == "@" ||
		strings.Contains(s+"/", ".lock/")
}

func branchShape() strictyaml.Shape[string] {
	const what, want = "is not the name of a branch", "want a name such as main, without refs/heads/"
	text := strictyaml.Text(strictyaml.TextRule{Pattern: refRE, What: what, Want: want, Most: 200})
	return text.Check(func(v strictyaml.Value, s *string) {
		if badRef(*s) || strings.HasPrefix(*s, "refs/") || *s == "HEAD" {
			v.Problem(what, want)
		}
	})
}

func ledgerRefShape() strictyaml.Shape[string] {
	const what, want = "is not a prefix of refs", "want refs/ and two more names, such as " + defaultLedgerRef
	text := strictyaml.Text(strictyaml.TextRule{Pattern: refRE, What: what, Want: want, Most: 200})
	return text.Check(func(v strictyaml.Value, s *string) {
		if badRef(*s) || !strings.HasPrefix(*s, "refs/") || strings.Count(*s, "/") < 2 {
			v.Problem(what, want)
		}
	})
}

// repoShape is a repository as Git names it. What Git would take for an option
// or a helper program is refused.
func repoShape() strictyaml.Shape[string] {
	const want = "want a path or an https, ssh or file URL"
	return strictyaml.Line(1000).Check(func(v strictyaml.Value, s *string) {
		switch {
		case strings.HasPrefix(*s, "-"), strings.Contains(*s, "::"):
			v.Problem("is not a repository", want)
		case strings.Contains(*s, "://"):
			if what := checkURL(*s, "https", "http", "ssh", "file"); what != "" {
				v.Problem(what, want+", without a password")
			}
		}
	})
}

func registryHostShape() strictyaml.Shape[string] {
	return strictyaml.Line(255).Check(func(v strictyaml.Value, s *string) {
		if _, err := stella.ParseArtifact(*s + "/x:x"); err != nil || strings.Contains(*s, "/") {
			v.Problem("is not the host of a registry", "want host or host:port, such as 127.0.0.1:5000")
		}
	})
}

func backupShape() strictyaml.Shape[string] {
	return strictyaml.Line(512).Check(func(v strictyaml.Value, s *string) {
		if dir, is := strings.CutPrefix(*s, "oci:"); is {
			if !absoluteRE.MatchString(dir) {
				v.Problem("is not an OCI layout", "want oci: and an absolute path")
			}
			return
		}
		if _, err := stella.ParseArtifact(*s + "/x:x"); err != nil && *s != "" {
			v.Problem("is not a place in a registry", "want host/prefix, such as backup.example.com/mirror, or oci:/path")
		}
	})
}

// comparatorRE is one condition of requires.
var (
	comparatorRE = regexp.MustCompile(`^(>=|<=|>|<|=)v?([0-9]{1,9})(?:\.([0-9]{1,9}))?(?:\.([0-9]{1,9}))?$`)
	requiresRE   = regexp.MustCompile(`^((>=|<=|>|<|=)v?[0-9]{1,9}(\.[0-9]{1,9}){0,2}( (>=|<=|>|<|=)v?[0-9]{1,9}(\.[0-9]{1,9}){0,2})*)?$`)
)

func requiresShape() strictyaml.Shape[string] {
	return strictyaml.Text(strictyaml.TextRule{
		Pattern: requiresRE, What: "is not a condition on versions", Want: "want one such as '>=0.1' or '>=0.1 <2', in quotes", Most: 200,
	})
}

// Allows reports whether a stella of this version may write to the repository:
// whether it meets Requires. A version that is not numbers with dots, such as
// that of a development build, may.
func (p *Project) Allows(version string) bool {
	// What follows the numbers, as in 1.2.3-rc.1, does not count.
	numbers, _, _ := strings.Cut(strings.TrimPrefix(version, "v"), "-")
	numbers, _, _ = strings.Cut(numbers, "+")
	have := comparatorRE.FindStringSubmatch("=" + numbers)
	if have == nil {
		return true
	}
	for condition := range strings.FieldsSeq(p.Requires) {
		want := comparatorRE.FindStringSubmatch(condition)
		if want == nil || !meets(compareVersions(have[2:], want[2:]), want[1]) {
			return false
		}
	}
	return true
}

// compareVersions compares by number; a part that is left out is zero.
func compareVersions(a, b []string) int {
	for i := range a {
		x, _ := strconv.Atoi(a[i])
		y, _ := strconv.Atoi(b[i])
		if x != y {
			return x - y
		}
	}
	return 0
}

func meets(order int, comparator string) bool {
	switch comparator {
	case ">=":
		return order >= 0
	case "<=":
		return order <= 0
	case ">":
		return order > 0
	case "<":
		return order < 0
	default:
		return order == 0
	}
}
