package configrepo

import (
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"
)

// jobOf returns which job a service is, empty for none.
func (m *model) jobOf(name string) string {
	x, _ := m.written[name][stellaField].(map[string]any)
	return text(x["job"])
}

// checkJobs reports jobs that could not do what jobs are for, and services that
// wait for one that does not run before them.
func (r *renderer) checkJobs(m *model) {
	for _, name := range sortedKeys(m.project.Services) {
		if m.jobOf(name) != "" {
			r.checkJob(m, name)
		}
		r.checkWaits(m, name)
	}
}

// checkJob looks at a job by itself: it runs once, beside the services that
// still run.
func (r *renderer) checkJob(m *model, name string) {
	fail := func(what, fix string, keys ...string) {
		r.problems = append(r.problems, m.serviceProblem(name, what, fix, keys...))
	}
	s := m.project.Services[name]
	if s.Restart == types.RestartPolicyAlways || s.Restart == types.RestartPolicyUnlessStopped {
		fail("is of a job, which ends", "remove it, or write on-failure:N", "restart")
	}
	if len(s.Ports) > 0 {
		fail("are published by a job, which may run beside a service that has them", "remove them", "ports")
	}
	if x, _ := m.written[name][stellaField].(map[string]any); x["rollback"] != nil {
		fail("is of a job, of which nothing is left to keep", "remove it", stellaField, "rollback")
	}
}

// checkWaits looks at what a service waits for.
func (r *renderer) checkWaits(m *model, name string) {
	of := m.jobOf(name)
	for _, needed := range sortedKeys(m.project.Services[name].DependsOn) {
		d, job := m.project.Services[name].DependsOn[needed], m.jobOf(needed)
		fail := func(what, fix string) {
			r.problems = append(r.problems, m.serviceProblem(name, what, fix, "depends_on", needed))
		}
		switch {
		case job == "":
		case of == "" && job != "pre-deploy":
			fail("is a "+job+" job, which does not run before services", "remove it, or make it a pre-deploy job")
		case of != "" && !slices.Contains(before(of), job):
			fail("is a "+job+" job, which does not run before a "+of+" job", "remove it")
		case d.Condition != types.ServiceConditionCompletedSuccessfully:
			fail("is a job, which runs once", "write condition: "+types.ServiceConditionCompletedSuccessfully)
		}
	}
}

// before are the jobs that run before one of a kind in the same deployment, and
// with it.
func before(job string) []string {
	when, kind, _ := strings.Cut(job, "-")
	if when == "post" {
		return []string{"pre-" + kind, job}
	}
	return []string{job}
}
