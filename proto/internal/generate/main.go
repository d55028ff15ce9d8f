// Command generate compiles the .proto files below the directory it is started
// in (proto/) and runs the two Go plug-ins that go.mod names as tools on them.
//
// It is a program rather than a buf or protoc call because the rules of
// protovalidate are imported from the Go module that defines them: nothing is
// fetched, and there is one place that says which version is used.
package main

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	_ "buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go/buf/validate"
	"github.com/bufbuild/protocompile"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/pluginpb"
)

func main() {
	log.SetFlags(0)
	if err := run(context.Background()); err != nil {
		log.Fatal(err)
	}
}

// run puts new code in the place of the old, which stays where something is wrong.
func run(ctx context.Context) error {
	files, err := compile(ctx)
	if err != nil {
		return err
	}
	var code []*pluginpb.CodeGeneratorResponse_File
	for _, plugin := range []string{"protoc-gen-go", "protoc-gen-go-grpc"} {
		more, err := generate(plugin, files)
		if err != nil {
			return fmt.Errorf("%s: %w", plugin, err)
		}
		code = append(code, more...)
	}
	if err := removeOld(); err != nil {
		return err
	}
	for _, f := range code {
		if err := os.WriteFile(filepath.FromSlash(f.GetName()), []byte(f.GetContent()), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// removeOld removes what was generated: the .proto of some may be gone.
func removeOld() error {
	return filepath.WalkDir(".", func(path string, _ fs.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(path, ".pb.go") {
			err = os.Remove(path)
		}
		return err
	})
}

// compile parses every .proto file below the working directory, comments
// included.
func compile(ctx context.Context) ([]protoreflect.FileDescriptor, error) {
	var names []string
	err := filepath.WalkDir(".", func(path string, _ fs.DirEntry, err error) error {
		if strings.HasSuffix(path, ".proto") {
			names = append(names, filepath.ToSlash(path))
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	linked := protocompile.ResolverFunc(func(path string) (protocompile.SearchResult, error) {
		d, err := protoregistry.GlobalFiles.FindFileByPath(path)
		if err != nil {
			return protocompile.SearchResult{}, err
		}
		return protocompile.SearchResult{Desc: d}, nil
	})
	c := protocompile.Compiler{
		Resolver:       protocompile.CompositeResolver{&protocompile.SourceResolver{}, linked},
		SourceInfoMode: protocompile.SourceInfoStandard,
	}
	compiled, err := c.Compile(ctx, names...)
	if err != nil {
		return nil, err
	}
	var out []protoreflect.FileDescriptor
	for _, f := range compiled {
		out = append(out, f)
	}
	return out, nil
}

// generate runs one plug-in and returns the files that it answers with.
func generate(plugin string, files []protoreflect.FileDescriptor) ([]*pluginpb.CodeGeneratorResponse_File, error) {
	param := "paths=source_relative"
	req := &pluginpb.CodeGeneratorRequest{Parameter: &param}
	seen := map[string]bool{}
	for _, f := range files {
		req.FileToGenerate = append(req.FileToGenerate, f.Path())
		req.ProtoFile = appendWithImports(req.ProtoFile, seen, f)
	}
	in, err := proto.Marshal(req)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command("go", "tool", plugin)
	cmd.Stdin, cmd.Stderr = bytes.NewReader(in), os.Stderr
	raw, err := cmd.Output()
	if err != nil {
		return nil, err
	}
	var resp pluginpb.CodeGeneratorResponse
	if err := proto.Unmarshal(raw, &resp); err != nil {
		return nil, err
	}
	if resp.Error != nil {
		return nil, fmt.Errorf("%s", resp.GetError())
	}
	return resp.File, nil
}

// appendWithImports appends f after everything that it imports, once.
func appendWithImports(to []*descriptorpb.FileDescriptorProto, seen map[string]bool, f protoreflect.FileDescriptor) []*descriptorpb.FileDescriptorProto {
	if seen[f.Path()] {
		return to
	}
	seen[f.Path()] = true
	for i := range f.Imports().Len() {
		to = appendWithImports(to, seen, f.Imports().Get(i).FileDescriptor)
	}
	return append(to, protodesc.ToFileDescriptorProto(f))
}
