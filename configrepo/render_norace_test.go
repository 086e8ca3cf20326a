//go:build !race

package configrepo

const raceFactor = 1
