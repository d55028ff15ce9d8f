# Ponix as an image: the binary alone. Engines are other images; see compose.yaml.
FROM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=0.1.0
RUN CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.version=${VERSION}" -o /ponix ./cmd/ponix

FROM gcr.io/distroless/static-debian12:nonroot
COPY --from=build /ponix /ponix
ENTRYPOINT ["/ponix"]
CMD ["serve"]
