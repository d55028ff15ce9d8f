package local

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"syscall"
)

// listen opens a port, 0 for any. Its error says how to avoid a port that is in use.
func listen(host string, port int, portFlag, ownFlag string) (*net.TCPListener, error) {
	address := net.JoinHostPort(host, strconv.Itoa(port))
	listener, err := net.Listen("tcp", address)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("port %d of %s is in use: choose another with %s, or name your own server with %s", port, host, portFlag, ownFlag)
	}
	if err != nil {
		return nil, err
	}
	return listener.(*net.TCPListener), nil
}

// freePort returns port, or one that is free if it is 0. It fails if the port is in use.
func freePort(host string, port int, portFlag, ownFlag string) (int, error) {
	free, err := freePorts(host, []int{port}, portFlag, ownFlag)
	if err != nil {
		return 0, err
	}
	return free[0], nil
}

// freePorts is freePort for several ports, of which no two are the same.
func freePorts(host string, ports []int, portFlag, ownFlag string) (free []int, err error) {
	for _, port := range ports {
		listener, err := listen(host, port, portFlag, ownFlag)
		if err != nil {
			return nil, err
		}
		defer listener.Close() //nolint:errcheck // nobody has connected
		free = append(free, listener.Addr().(*net.TCPAddr).Port)
	}
	return free, nil
}
