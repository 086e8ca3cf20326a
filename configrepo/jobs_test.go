package configrepo

import (
	"strings"
	"testing"
)

// TestJobsThatCanNotBe holds what is refused of jobs and of those who wait for
// them, and what is not.
func TestJobsThatCanNotBe(t *testing.T) {
	for written, want := range map[string]string{
		"x-stella: {job: pre-deploy}\n    restart: always":                                                 "services.job.restart: is of a job",
		"x-stella: {job: pre-deploy}\n    ports: [\"80:80\"]":                                              "services.job.ports: are published by a job",
		"x-stella: {job: pre-deploy, rollback: keep}":                                                      "services.job.x-stella.rollback: is of a job",
		"x-stella: {job: post-deploy}":                                                                     "services.web.depends_on.job: is a post-deploy job",
		"x-stella: {job: pre-rollback}":                                                                    "services.web.depends_on.job: is a pre-rollback job",
		"x-stella: {job: pre-deploy}\n    depends_on: {late: {condition: service_completed_successfully}}": "services.job.depends_on.late: is a post-deploy job, which does not run before a pre-deploy job",
		"x-stella: {job: pre-deploy}":                                                                      "",
		"x-stella: {job: pre-deploy}\n    restart: \"on-failure:2\"\n    depends_on: [db]":                 "",
	} {
		image := "    image: registry.example.com/x:1@" + someDigest + "\n"
		compose := "services:\n  web:\n    depends_on: {job: {condition: service_completed_successfully}}\n" +
			"  db:\n" + image + "  late:\n    x-stella: {job: post-deploy}\n" + image + "  job:\n" + image + "    " + written + "\n"
		_, err := renderFiles(t.Context(), engineApp("", compose))
		switch {
		case want == "" && err != nil:
			t.Errorf("%s: %v", written, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%s: got %v", written, err)
		}
		waits := strings.Replace(compose, "service_completed_successfully", "service_started", 1)
		if _, err := renderFiles(t.Context(), engineApp("", waits)); err == nil || !strings.Contains(err.Error(), "services.web.depends_on.job: ") {
			t.Errorf("%s: a job that is only waited to start is accepted: %v", written, err)
		}
	}
}
