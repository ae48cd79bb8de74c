//go:build !linux

package main

import (
	"io/fs"
	"syscall"
)

func dieWithParent() *syscall.SysProcAttr { return nil }

func allocated(info fs.FileInfo) int64 { return info.Size() }
