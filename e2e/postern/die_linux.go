package postern

import "syscall"

// dieWithTest has the kernel end the process when the test's process is gone,
// however it went.
func dieWithTest() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
