// Package dockertest runs real container engines and a real registry for tests.
// Start with [Main], which TestMain calls, then [Engine] and [Image]; [Engines]
// makes more hosts.
//
// The test binary runs itself again in namespaces of its own: of the network, so
// that engines, registry and test share a loopback and nothing gets out; of
// processes and mounts, so that engines and containers end with the test binary,
// however that ends. Nothing here knows of targets or environments.
package dockertest
