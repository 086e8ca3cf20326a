package engine_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/dockertest"
	"github.com/stella-ops/stella/internal/engine"
)

// authority signs certificates.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) authority {
	t.Helper()
	a := authority{t: t, key: newKey(t)}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "ca"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &a.key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	return a
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// dir has ca.pem, cert.pem and key.pem of a new certificate for an address.
func (a authority) dir(ip string) string {
	a.t.Helper()
	key := newKey(a.t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "engine"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.ParseIP(ip)}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	keyDER, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	dir := a.t.TempDir()
	for name, block := range map[string]*pem.Block{
		"ca.pem": {Type: "CERTIFICATE", Bytes: a.cert.Raw}, "cert.pem": {Type: "CERTIFICATE", Bytes: der}, "key.pem": {Type: "EC PRIVATE KEY", Bytes: keyDER},
	} {
		write(a.t, filepath.Join(dir, name), string(pem.EncodeToMemory(block)))
	}
	return dir
}

func write(t *testing.T, file, content string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestTLSIsVerifiedOnBothSides(t *testing.T) {
	t.Parallel()
	ca, other := newAuthority(t), newAuthority(t)
	host := dockertest.Engines(t, 1)[0]
	server := ca.dir(host.Address)
	d := host.Serve(t, "tcp://"+host.Address+":2376", "--tlsverify",
		"--tlscacert", server+"/ca.pem", "--tlscert", server+"/cert.pem", "--tlskey", server+"/key.pem")
	p := pool(t, engine.Config{})
	address := "tcp://" + host.Address + ":2376"
	good := ca.dir("127.0.0.1")
	if answers(t, p, engine.Address{Host: address, TLS: good}) != answers(t, p, engine.Address{Host: "unix://" + d.Socket}) {
		t.Error("another engine answers")
	}
	fails(t, p, engine.Address{Host: address, TLS: other.dir("127.0.0.1")}, stella.ErrDenied, "not what ca.pem says", "authority of this engine")
	mixed := other.dir("127.0.0.1")
	ours, err := os.ReadFile(filepath.Join(good, "ca.pem"))
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(mixed, "ca.pem"), string(ours))
	fails(t, p, engine.Address{Host: address, TLS: mixed}, stella.ErrDenied, "refuses cert.pem", "--tlscacert")
	fails(t, p, engine.Address{Host: "tcp://" + host.Address + ":1", TLS: good}, stella.ErrUnreachable, "nothing listens there", "systemctl status docker")

	config := t.TempDir()
	inContext := pool(t, engine.Config{Getenv: func(k string) string { return map[string]string{"DOCKER_CONFIG": config}[k] }})
	makeContext(t, config, "shop", "host="+address+",ca="+good+"/ca.pem,cert="+good+"/cert.pem,key="+good+"/key.pem")
	makeContext(t, config, "blind", "host="+address+",skip-tls-verify=true")
	makeContext(t, config, "plain", "host="+address)
	makeContext(t, config, "here", "host=unix://"+d.Socket)
	answers(t, inContext, engine.Address{Context: "shop"})
	answers(t, inContext, engine.Address{Context: "here"})
	fails(t, inContext, engine.Address{Context: "blind"}, stella.ErrInvalid, "does not verify", "docker context update blind")
	fails(t, inContext, engine.Address{Context: "plain"}, stella.ErrInvalid, "has no certificates", "docker context update plain")
	fails(t, inContext, engine.Address{Context: "none"}, stella.ErrNotFound, "none", "docker context ls")
}

func makeContext(t *testing.T, config, name, docker string) {
	t.Helper()
	out, err := exec.Command("docker", "--config", config, "context", "create", name, "--docker", docker).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}
