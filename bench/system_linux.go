package main

import (
	"io/fs"
	"syscall"
)

// dieWithParent has the kernel end a server when this process is gone, however
// it went.
func dieWithParent() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }

// allocated is what a file takes on the disk, in bytes: less than its length
// where it has holes.
func allocated(info fs.FileInfo) int64 {
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		return stat.Blocks * 512
	}
	return info.Size()
}
