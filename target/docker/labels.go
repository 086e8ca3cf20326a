package docker

// The labels of what is ours. They are a stored format: containers, networks and
// volumes outlive the program that made them.
const (
	labelEnvironment = "stella.environment"
	labelTarget      = "stella.target"
	labelProject     = "stella.project"    // Compose project: tells apart targets of one name in two config repositories
	labelResource    = "stella.resource"   // "service/web"
	labelSpec        = "stella.spec"       // what was asked for, as JSON; without contents of files and values of variables
	labelSpecDigest  = "stella.digest"     // drift.Digest of the resource's fields without secrets: equal fields, equal container
	labelImage       = "stella.image"      // id of the image that the reference stood for when it was made
	labelFence       = "stella.fence"      // the fence under which it was made
	labelDeployment  = "stella.deployment" // likewise
	labelRelease     = "stella.release"
	labelCommit      = "stella.commit"
	labelRecord      = "stella.record" // on the record alone: what is known of the target, as JSON
	// On the image that records are made of: targets that import it at the same time
	// leave one without a name.
	labelRecordImage = "stella.record.image"
)

// The labels that Compose gives to what it makes, so that its commands find it;
// see https://github.com/docker/compose/blob/main/pkg/api/labels.go.
const (
	composeProject         = "com.docker.compose.project"
	composeService         = "com.docker.compose.service"
	composeContainerNumber = "com.docker.compose.container-number"
	composeOneoff          = "com.docker.compose.oneoff"
	composeConfigHash      = "com.docker.compose.config-hash"
	composeConfigFiles     = "com.docker.compose.project.config_files"
	composeWorkingDir      = "com.docker.compose.project.working_dir"
	composeVersion         = "com.docker.compose.version"
	composeDependsOn       = "com.docker.compose.depends_on"
	composeImage           = "com.docker.compose.image"
	composeNetwork         = "com.docker.compose.network"
	composeVolume          = "com.docker.compose.volume"
)
