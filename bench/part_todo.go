package main

func (b *bench) refused() error  { return nil }
func (b *bench) size() error     { return nil }
func (b *bench) signIn() error   { return nil }
func (b *bench) sessions() error { return nil }
func (b *bench) streams() error  { return nil }
