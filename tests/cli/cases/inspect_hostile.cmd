head -c 100 /dev/zero > x.safetensors; "$F" inspect x.safetensors
