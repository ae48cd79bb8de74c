//go:build !linux

package postern

import (
	"os/exec"
	"syscall"
)

func dieWithTest() *syscall.SysProcAttr { return nil }

func dieWithParent(*exec.Cmd) {}
