# shellcheck shell=bash disable=SC2154
# The table of serving: a layer of 450 MB from a full cache, beside nginx with the same file.
# Sourced by scripts/bench; the registry is that of registry.sh.

# serving PORT COMMAND…: starts a server and waits until it answers.
serving() {
	local port="$1"
	shift
	"$@" > "$work/serving-$port.log" 2>&1 &
	servers+=($!)
	answers "$port"
}

table_serve() {
	local near port nginx path many image
	command -v docker-registry > /dev/null || {
		echo "bench: docker-registry is missing; scripts/peers target/peers gets it" >&2
		exit 1
	}
	serve near
	printf '\n## Serving 450 MB to clients on loopback, out of a full cache\n'
	mkdir -p "$work/www"
	head -c 450000000 /dev/urandom > "$work/www/rootfs.raw"
	head -c 1000000 /dev/urandom > "$work/vmlinuz"
	head -c 1000000 /dev/urandom > "$work/initrd"
	image="localhost:$near/me/os:1"
	"$osimage" --store-path "$work/served" build --tag os:1 --kernel-file "$work/vmlinuz" \
		--rootfs-file "$work/www/rootfs.raw" --initramfs-file "$work/initrd" > /dev/null
	"$osimage" push "$work/served:os:1" "$image" > /dev/null 2>&1
	rm -rf "$work/served"
	port="$(free_port)"
	serving "$port" "$osimage" serve --listen "127.0.0.1:$port" --cache "$work/cache" "$image"
	path="http://127.0.0.1:$port/boot/$image"
	path="${path%:1}/1/rootfs.raw"
	curl -fsS -o /dev/null "$path"
	# So many at once, each to nothing.
	many="xargs -P 50 -I{} curl -fsS -o /dev/null {}"
	run "one client" osimage "curl -fsS -o /dev/null $path"
	run "50 clients at once" osimage "yes $path | head -n 50 | $many"
	if command -v nginx > /dev/null; then
		nginx="$(free_port)"
		cat > "$work/nginx.conf" <<- CONFIG
			daemon off; pid $work/nginx.pid; error_log $work/nginx.error; worker_processes auto;
			events {}
			http {
				access_log off; sendfile on; tcp_nopush on;
				client_body_temp_path $work/body; proxy_temp_path $work/proxy;
				fastcgi_temp_path $work/fastcgi; uwsgi_temp_path $work/uwsgi; scgi_temp_path $work/scgi;
				server { listen 127.0.0.1:$nginx; root $work/www; }
			}
		CONFIG
		# Its workers may be another user's.
		chmod 755 "$work"
		serving "$nginx" nginx -e "$work/nginx.error" -p "$work" -c "$work/nginx.conf"
		path="http://127.0.0.1:$nginx/rootfs.raw"
		run "one client" "nginx, sendfile" "curl -fsS -o /dev/null $path"
		run "50 clients at once" "nginx, sendfile" "yes $path | head -n 50 | $many"
	fi
	rows
}
