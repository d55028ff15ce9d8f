//go:build race

package main

// slow is by how much the race detector may exceed bounds of time and memory.
const slow = 10
