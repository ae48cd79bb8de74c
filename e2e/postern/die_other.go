//go:build !linux

package postern

import "syscall"

func dieWithTest() *syscall.SysProcAttr { return nil }
