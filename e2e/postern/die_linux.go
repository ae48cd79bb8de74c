package postern

import (
	"os/exec"
	"syscall"
)

// dieWithTest has the kernel end the process when the test's process is gone,
// however it went.
func dieWithTest() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }

func dieWithParent(cmd *exec.Cmd) { cmd.SysProcAttr = dieWithTest() }
