package docker

import (
	"os"
	"testing"

	"github.com/stella-ops/stella/internal/dockertest"
)

func TestMain(m *testing.M) { os.Exit(dockertest.Main(m)) }
